"""The loop on the real broker, with real agents: nothing is lost, one bad row costs one row, order and state hold."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from subprocess import Popen
from types import ModuleType
from typing import Any

import pytest

from app.asking.requests import Address, Reply
from app.bus import Delivered, Outgoing
from app.codec import Decoder, Headers, header
from app.modes import stream
from app.modes.consuming.lifecycle import EXIT_HUNG, Leave
from app.testing import MemoryBus, outgoing
from app.topics import MAX_PREDICTION_BYTES

Start = Callable[[str], "Popen[bytes]"]


class HeldBus(MemoryBus):
    """Delivers nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.free = asyncio.Event(), asyncio.Event()

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        self.reached.set()
        await self.free.wait()
        return await super().send(records)


def rides(stage: Any, passengers: Sequence[int]) -> list[Outgoing]:
    return [outgoing(stage.events.ride(passengers=number), stage.topic.name) for number in passengers]


async def test_every_ride_is_answered_in_order_per_user_and_carries_where_it_came_from(
    stage, worker: ModuleType
) -> None:
    sent = rides(stage, [1, 2, 3, 4] * 250)
    await stage.put(sent)
    await stage.finished(stage.loop(worker.passengers(stage.name), worker.Doubles()), 1000)

    answers = await stage.answers()
    assert len(answers) == 1000
    assert {answer.event_id: answer.value for answer in answers} == {
        f"{stage.name}-e{number}": float(2 * (1 + (number - 1) % 4)) for number in range(1, 1001)
    }
    by_user = defaultdict(list)
    for answer in answers:
        by_user[answer.user_id].append(answer.offset)
    assert all(offsets == sorted(offsets) for offsets in by_user.values())
    assert {answer.arm for answer in answers} == {"live"}


async def test_nothing_is_committed_before_its_output_is_delivered(stage, worker: ModuleType) -> None:
    bus = HeldBus()
    await stage.put(rides(stage, [1] * 10))
    loop = stage.loop(worker.passengers(stage.name), worker.Doubles(), bus)
    async with stage.running(loop):
        await bus.reached.wait()
        assert not await loop.group.app.consumer.force_commit(), "there was something to commit"
        assert await stage.committed() == 0
        bus.free.set()
    assert await stage.committed() == 10
    assert len(bus.records("predictions")) == 10


async def test_a_shared_state_is_let_go_of_at_the_end(stage, worker: ModuleType) -> None:
    closed: list[str] = []

    class Kept:
        def __init__(self, database_url: str, *, remember: bool = True) -> None:
            self._url = database_url

        def close(self) -> None:
            closed.append(self._url)

    def features(events: Sequence[Any], _: Kept) -> Any:
        return worker.passengers(stage.name).features(events)

    await stage.put(rides(stage, [1]))
    agent = replace(worker.passengers(stage.name), shared=Kept, features=features)
    await stage.finished(stage.loop(agent, worker.Doubles()), 1)
    assert closed == [stage.settings.database_url]


async def test_a_trace_goes_on_in_the_prediction(stage, worker: ModuleType) -> None:
    bus, trace = MemoryBus(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stage.put([outgoing(stage.events.ride(), stage.topic.name, trace)])
    await stage.finished(stage.loop(worker.passengers(stage.name), worker.Doubles(), bus), 1)

    (answer,) = bus.records("predictions")
    child = header(answer.headers, "traceparent")
    assert child is not None
    assert child != trace
    assert child.split("-")[1] == trace.split("-")[1]


async def test_whoever_wants_a_word_on_an_event_gets_the_one_that_is_published(stage, worker: ModuleType) -> None:
    """And nobody else does: neither of another agent's, nor too late, nor where the address makes no sense."""
    bus, name, later = MemoryBus(), stage.name, int(time.time() * 1000) + 60_000

    def ride(passengers: int, headers: Headers) -> Outgoing:
        sent = outgoing(stage.events.ride(passengers=passengers), stage.topic.name)
        return sent._replace(headers=(*sent.headers, *headers))

    wanted = [
        ride(2, Address(later, 3, "gateway-1", "a").on_event(name)),
        ride(8, Address(later, 4, "gateway-2", "b").on_event(name)),  # the model refuses it
        ride(3, Address(later, 3, "gateway-1", "c").on_event("somebody-else")),
        ride(3, Address(1, 3, "gateway-1", "d").on_event(name)),
        ride(3, Address(later, 99, "gateway-1", "e").on_event(name)),
        ride(3, (("asked", name.encode()),)),
    ]
    await stage.put(wanted)
    await stage.finished(stage.loop(worker.passengers(name), worker.Doubles(), bus), len(wanted))

    replies = [(record.partition, Decoder(Reply).decode(record.value)) for record in bus.records("replies")]
    said = {reply.call: (partition, reply.asker, reply.values) for partition, reply in replies}
    assert said == {"a": (3, "gateway-1", (4.0,)), "b": (4, "gateway-2", ())}
    assert "eight is too many" in next(reply.error for _, reply in replies if reply.call == "b")
    assert len(bus.records("predictions")) == len(wanted) - 1


async def test_poison_is_dead_lettered_untouched_and_the_rest_goes_on(stage, worker: ModuleType) -> None:
    poison = [
        b"x" * 1_000_000,
        None,
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b'{"type":"millrace.ride.requested.v9"}',
        b'{"a":\n1}',
    ]
    bad = [Outgoing(stage.topic.name, b"k", value, (("x-foreign", b"1"),)) for value in poison]
    bad.append(Outgoing(stage.topic.name, None, None))
    mixed = bad[-1:] + [record for pair in zip(rides(stage, [1] * 8), bad, strict=False) for record in pair]
    await stage.put(mixed)
    await stage.finished(stage.loop(worker.passengers(stage.name), worker.Doubles()), 17)

    assert len(await stage.answers()) == 8
    dead = await stage.dead()
    assert Counter(record.value for record in dead) == Counter([*poison, None])
    causes = {record.value: header(record.headers, "dlq.cause") for record in dead}
    assert causes[b'{"type":"millrace.ride.requested.v9"}'] == "unknown_message"
    assert causes[b"{"] == causes[None] == "invalid_message"
    keyed = [record for record in dead if record.key is not None]
    assert len(keyed) == 8
    assert all(record.key == b"k" and header(record.headers, "x-foreign") == "1" for record in keyed)


@pytest.mark.parametrize(
    ("passengers", "error"),
    [
        (7, "the model answered NaN"),
        (8, "ArithmeticError: eight is too many"),
        (9, "no answer within 0.3 s"),
        (6, "outside 0 to 11"),
    ],
)
async def test_a_row_the_model_cannot_score_fails_alone(stage, worker: ModuleType, passengers: int, error: str) -> None:
    await stage.put(rides(stage, [1] * 50 + [passengers] + [2] * 50))
    agent = worker.passengers(stage.name, low=0, high=11)
    await stage.finished(stage.loop(agent, worker.Doubles()), 101)

    assert len(await stage.answers()) == 100
    (dead,) = await stage.dead()
    assert header(dead.headers, "dlq.cause") == "scoring_failed"
    assert error in str(header(dead.headers, "dlq.error"))


@pytest.mark.parametrize("others", [0, 40], ids=["alone", "in a batch"])
async def test_a_prediction_larger_than_its_topic_takes_is_a_dead_letter(
    stage, worker: ModuleType, others: int
) -> None:
    sizes = {5: MAX_PREDICTION_BYTES - 6000, 6: MAX_PREDICTION_BYTES}

    def verbose(_model: Any, events: Sequence[Any], *_: Any) -> list[dict[str, object]]:
        return [{"text": "x" * sizes.get(event.passengers, 0)} for event in events]

    await stage.put(rides(stage, [5, *[1] * others, 6]))
    await stage.finished(stage.loop(worker.passengers(stage.name, detail=verbose), worker.Doubles()), 2 + others)

    assert 10.0 in {answer.value for answer in await stage.answers()}
    assert len(await stage.answers()) == 1 + others
    (dead,) = await stage.dead()
    assert header(dead.headers, "dlq.cause") == "prediction_too_large"


async def test_too_many_hangs_end_the_worker_after_everything_is_committed(stage, worker: ModuleType) -> None:
    await stage.put(rides(stage, [9] * stream.MAX_HANGS))
    loop = stage.loop(
        worker.passengers(stage.name, max_batch=1), worker.Doubles(), score_timeout=timedelta(seconds=0.02)
    )
    with pytest.raises(Leave) as left:
        await asyncio.wait_for(loop.run(), 60)
    assert left.value.code == EXIT_HUNG
    assert len(await stage.dead()) == await stage.committed()
    assert await stage.committed() >= stream.MAX_HANGS


async def test_an_event_that_breaks_the_fold_leaves_the_state_as_if_it_had_not_come(stage, worker: ModuleType) -> None:
    numbers = [8 if place % 40 == 7 else 1 for place in range(200)]
    sent = [
        outgoing(stage.events.ride(passengers=number, user_id=f"{stage.name}-only"), stage.topic.name)
        for number in numbers
    ]
    await stage.put(sent)
    await stage.finished(stage.loop(worker.counting(stage.name), worker.Same()), 200)

    assert sorted(answer.value for answer in await stage.answers()) == [float(n) for n in range(1, 196)]
    assert len(await stage.dead()) == 5


async def test_a_rebalance_loses_nothing_and_repeats_nothing(stage, worker: ModuleType) -> None:
    await stage.put(rides(stage, [1] * 3000))
    first, second = (stage.loop(worker.counting(stage.name, 0.003, max_batch=20), worker.Same()) for _ in range(2))
    async with stage.running(first):
        await _until_answers(stage, 200)
        async with stage.running(second):
            await _until_answers(stage, 1500)
        await _until_answers(stage, 3000)
    _assert_counted_right(stage.name, await stage.answers(), 3000)
    assert len(await stage.answers()) == 3000


@pytest.mark.parametrize("kind", ["passengers", "counting"])
async def test_kill_9_loses_nothing_and_the_state_is_that_of_an_undisturbed_run(
    stage, start_worker: Start, kind: str
) -> None:
    await stage.put(rides(stage, [1] * 4000))
    for stop_at in (300, 1800):
        process = start_worker(kind)
        await _until_answers(stage, stop_at)
        process.kill()
        process.wait()
    last = start_worker(kind)
    await _until_answers(stage, 4000)
    last.terminate()
    assert await asyncio.to_thread(last.wait, 60) == 0

    answers = await stage.answers()
    assert {answer.event_id for answer in answers} == {f"{stage.name}-e{number}" for number in range(1, 4001)}
    if kind == "counting":
        _assert_counted_right(stage.name, answers, 4000)
    assert await stage.committed() == 4000


async def _until_answers(stage: Any, count: int) -> None:
    """Return once there are so many; as long as more come it is waited for them, however slow the machine is."""
    loop, most = asyncio.get_running_loop(), 0
    until = loop.time() + 60
    while (answered := len({answer.event_id for answer in await stage.answers()})) < count:
        if answered > most:
            most, until = answered, loop.time() + 60
        assert loop.time() < until, f"fewer than {count} answers"


def _assert_counted_right(name: str, answers: Sequence[Any], count: int) -> None:
    """Each user's n-th ride is answered with n, however often it is answered."""
    users = 10
    for answer in answers:
        number = int(answer.event_id.removeprefix(f"{name}-e"))
        assert answer.value == (number - 1) // users + 1 if number % users else number // users
    assert len({answer.event_id for answer in answers}) == count
