"""Fetches that are shared: one question where all ask the same, and nobody harmed by what happens to the others."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest

from app.bus import Outgoing
from app.modes.consuming.fetching import CROWDED_WAIT_MS, SharedFetches
from app.modes.consuming.group import Group
from app.modes.consuming.progress import RecordBatch

RECORDS = 40

Answer = Callable[[], Awaitable[Any]]


class Asker:
    """As a consumer stands to its client; counts what reaches the broker."""

    def __init__(self, fetches: SharedFetches, answer: Answer) -> None:
        self.sent = 0
        self._answer = answer
        self._client, self._fetcher = SimpleNamespace(send=self._send), SimpleNamespace(_records={})
        self.patience_ms: list[int] = []
        fetches.join(self)  # type: ignore[arg-type]  # all that is asked of a consumer is its client

    async def _send(self, _node_id: int, request: Any) -> Any:
        self.sent += 1
        if isinstance(request, FetchRequest):
            self.patience_ms.append(request._max_wait_ms)
        return await self._answer()

    def crowd(self) -> None:
        """Something was fetched that nobody has taken."""
        self._fetcher._records["rides", 7] = object()

    async def ask(self, *offsets: int) -> Any:
        return await self._client.send(1, fetch(*offsets))


def fetch(*offsets: int) -> FetchRequest:
    return FetchRequest(250, 1, 1 << 20, 0, [("rides", [(n, offset, 1 << 20) for n, offset in enumerate(offsets)])])


def answered(records: bytes) -> Any:
    return SimpleNamespace(topics=[("rides", [(0, 0, 9, records)])])


async def some() -> Any:
    return answered(b"records")


async def none() -> Any:
    await asyncio.sleep(0)
    return answered(b"")


@pytest.fixture
def fetches() -> SharedFetches:
    return SharedFetches()


async def test_a_fetch_that_leaves_a_partition_out_is_short(fetches: SharedFetches) -> None:
    asker = Asker(fetches, none)
    await asker.ask(1, 2)
    asker.crowd()
    await asker.ask(1, 3)
    assert asker.patience_ms == [250, CROWDED_WAIT_MS]


async def test_who_asks_the_same_shares_the_answer_at_the_time_and_a_moment_later(fetches: SharedFetches) -> None:
    askers = [Asker(fetches, some) for _ in range(3)]
    answers = await asyncio.gather(*(asker.ask(3, 7) for asker in askers))
    answers.append(await askers[2].ask(3, 7))
    assert [asker.sent for asker in askers] == [1, 0, 0]
    assert all(answer is answers[0] for answer in answers)


async def test_another_position_is_another_question(fetches: SharedFetches) -> None:
    askers = [Asker(fetches, some) for _ in range(2)]
    await asyncio.gather(askers[0].ask(3, 7), askers[1].ask(3, 8))
    assert [asker.sent for asker in askers] == [1, 1]


async def test_an_answer_without_records_is_not_given_twice(fetches: SharedFetches) -> None:
    first, second = Asker(fetches, none), Asker(fetches, none)
    await asyncio.gather(first.ask(3), second.ask(3))
    assert (first.sent, second.sent) == (1, 0)
    await second.ask(3)
    assert second.sent == 1


async def test_old_answers_are_forgotten(fetches: SharedFetches) -> None:
    asker = Asker(fetches, some)
    for offset in (*range(100), 0):
        await asker.ask(offset)
    assert asker.sent == 101


async def test_an_answer_is_given_again_for_a_moment_only() -> None:
    now = [0.0]
    asker = Asker(SharedFetches(clock=lambda: now[0]), some)
    for now[0] in (0.0, 0.1, 60.0):
        await asker.ask(3)
    assert asker.sent == 2


async def test_one_who_loses_interest_takes_the_answer_from_nobody(fetches: SharedFetches) -> None:
    free = asyncio.Event()

    async def waits() -> Any:
        await free.wait()
        return answered(b"records")

    first, second = Asker(fetches, waits), Asker(fetches, waits)
    leaving, staying = asyncio.ensure_future(first.ask(3)), asyncio.ensure_future(second.ask(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    free.set()
    assert (await staying).topics
    assert (first.sent, second.sent) == (1, 0)


async def test_when_the_connection_of_the_one_who_asked_breaks_the_others_ask_for_themselves(
    fetches: SharedFetches,
) -> None:
    async def breaks() -> Any:
        await asyncio.sleep(0)
        raise KafkaConnectionError("gone")

    first, second = Asker(fetches, breaks), Asker(fetches, some)
    one, other = await asyncio.gather(first.ask(3), second.ask(3), return_exceptions=True)
    assert isinstance(one, KafkaConnectionError)
    assert other.topics
    assert second.sent == 1


async def test_whatever_is_no_fetch_goes_straight_through(fetches: SharedFetches) -> None:
    asker = Asker(fetches, some)
    for _ in range(2):
        await asker._client.send(1, "a commit")
    assert asker.sent == 2


class Counting(SharedFetches):
    """Tells when as many fetches as there are records have been answered without a question of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = self.asked = 0
        self.shared = asyncio.Event()

    async def _send(self, consumer: Any, send: Any, node_id: int, request: Any, **options: Any) -> Any:
        self.wanted += isinstance(request, FetchRequest)
        answer = await super()._send(consumer, send, node_id, request, **options)
        if self.wanted - self.asked >= RECORDS:
            self.shared.set()
        return answer

    def _ask(self, *args: Any) -> Any:
        self.asked += 1
        return super()._ask(*args)


async def test_groups_of_one_process_each_get_every_record_of_shared_fetches(stage: Any) -> None:
    """With aiokafka as it is: the test that fails when its inner parts have moved."""
    fetches, seen, complete = Counting(), {name: list[int]() for name in "abc"}, asyncio.Event()

    def handler(name: str) -> Any:
        async def handle(batch: RecordBatch) -> None:
            seen[name] += [int(record.value or b"") for record in batch.records]
            if all(len(values) == RECORDS for values in seen.values()):
                complete.set()

        return handle

    ready = asyncio.Semaphore(0)

    async def assigned(_: Any) -> None:
        ready.release()

    groups = [
        Group(
            f"millrace.{stage.name}.{name}",
            [stage.topic],
            handler(name),
            stage.settings,
            on_assigned=assigned,
            fetches=fetches,
        )
        for name in seen
    ]
    running = [asyncio.create_task(group.run()) for group in groups]
    async with asyncio.timeout(20):
        for _ in groups:
            await ready.acquire()
        for number in range(RECORDS):
            await stage.put([Outgoing(stage.topic.name, b"k", b"%d" % number)])
        await complete.wait()
        await fetches.shared.wait()  # idle groups go on asking the same
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert all(values == list(range(RECORDS)) for values in seen.values())
    assert fetches.asked > 0
