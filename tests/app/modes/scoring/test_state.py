"""A state over several topics, and over one it hears whole: kept through kill -9, found wherever a snapshot stands."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from subprocess import Popen
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
from aiokafka.structs import TopicPartition

from agents._cards import Cards
from app import topic_admin
from app.bus import Delivered, Outgoing, Producer
from app.codec import Decoder
from app.errors import MillraceError, ServiceUnavailable
from app.events import AnyTransaction, FraudReported, TransactionMade
from app.modes.consuming.read import reader
from app.modes.scoring.state import _REMEMBERED, Fold, Snapshots, Sources
from app.modes.stream import Loop, Ready
from app.predictions import PredictionBatch
from app.testing import Events, outgoing
from app.topics import CARD_PREDICTIONS, Topic, state_topic

_predictions, _events = Decoder[PredictionBatch](PredictionBatch), Decoder[AnyTransaction](AnyTransaction)
SOURCES = ("atm", "online", "pos")


@dataclass
class Bank:
    """Transactions on three topics of a test's own, reports on a fourth."""

    stage: Any
    worker: ModuleType
    consumed: list[Topic]
    heard: list[Topic]
    _reports: list[AnyTransaction] = field(default_factory=list)

    def made(self, count: int, seed: int = 0) -> list[TransactionMade]:
        rng, events = random.Random(seed), self.stage.events
        return [
            events.transaction(
                card_id=f"card{rng.randrange(30)}",
                terminal_id=f"shop{rng.randrange(9)}",
                amount_usd=rng.randint(100, 30_000) / 100,
                at=events._start + timedelta(hours=number / 4 - rng.choice([0, 0, 0, 30])),
                source=rng.choice(SOURCES),
            )
            for number in range(count)
        ]

    def reports(self, made: Sequence[TransactionMade]) -> list[FraudReported]:
        return [
            FraudReported(
                **{name: getattr(one, name) for name in one.__struct_fields__ if name not in {"at", "event_id"}},
                event_id=f"{one.event_id}.fraud",
                at=one.at + timedelta(days=7),
                made_at=one.at,
            )
            for one in made
        ]

    async def put(self, events: Sequence[AnyTransaction]) -> None:
        names = dict(zip(SOURCES, (topic.name for topic in self.consumed), strict=True))
        await self.stage.put(
            [
                outgoing(event, self.heard[0].name if isinstance(event, FraudReported) else names[event.source])
                for event in events
            ]
        )

    async def answered(self) -> set[str]:
        found = [_predictions.decode(record.value) for record in await self.stage.read(CARD_PREDICTIONS.name)]
        return {event_id for said in found if said.model == self.stage.name for event_id in said.event_id}

    async def until(self, count: int) -> None:
        """Return once so many are answered; as long as more are it is waited for them, however slow the machine is."""
        loop, most = asyncio.get_running_loop(), 0
        deadline = loop.time() + 60
        while (answered := len(await self.answered())) < count:
            if answered > most:
                most, deadline = answered, loop.time() + 60
            assert loop.time() < deadline, f"fewer than {count} answers"

    async def all_of(self, topic: Topic, partition: int) -> list[AnyTransaction]:
        async with reader(self.stage.settings.kafka, topic.name, partition) as source:
            records = [one async for some in source.records(*await source.bounds()) for one in some]
        return [_events.decode(record.value) for record in records]

    async def undisturbed(self, partition: int) -> Cards:
        """One fold over everything there is, topic after topic."""
        cards = Cards()
        for topic in self.consumed:
            cards.extract(await self.all_of(topic, partition))
        if not self._reports:
            for number in range(self.stage.settings.partitions):
                self._reports += await self.all_of(self.heard[0], number)
        cards.extract(self._reports)
        return cards

    def loop_that_commits_at_its_end(self, ready: Ready, producer: Producer) -> Loop:
        settings = self.stage.settings.model_copy(update={"commit_interval": timedelta(minutes=5)})
        return Loop(ready, self.consumed, producer, settings, hears=self.heard)

    def snapshots(self) -> Snapshots:
        settings, agent = self.stage.settings, self.worker.cards(self.stage.name).agent
        sources = Sources(self.consumed, self.heard, settings.partitions)
        return Snapshots(agent, sources, self.stage.producer, settings.kafka, 5.0)

    async def ends(self, partition: int) -> dict[TopicPartition, int]:
        ends = {}
        for topic in self.consumed:
            async with reader(self.stage.settings.kafka, topic.name, partition) as source:
                ends[TopicPartition(topic.name, partition)] = (await source.bounds())[1]
        return ends

    async def equals_undisturbed(self) -> list[Fold]:
        """From the snapshots there are, every partition comes to what one fold over everything is."""
        snapshots, folds = self.snapshots(), list[Fold]()
        for partition in range(self.stage.settings.partitions):
            fold = await snapshots.restore(partition, await self.ends(partition))
            assert fold.dump() == (await self.undisturbed(partition)).dump()
            folds.append(fold)
        snapshots.close()
        return folds


class _Failing:
    """A producer that loses its broker for predictions alone."""

    def __init__(self, producer: Producer) -> None:
        self._producer, self.fails = producer, False

    async def send(self, records: Sequence[Outgoing]) -> Sequence[Delivered]:
        if self.fails and any(record.topic == CARD_PREDICTIONS.name for record in records):
            raise ServiceUnavailable("kafka", "it is away")
        return await self._producer.send(records)

    async def post(self, records: Sequence[Outgoing]) -> None:
        await self._producer.post(records)

    async def close(self) -> None:
        """The stage's own goes on."""


@pytest_asyncio.fixture
async def bank(stage: Any, worker: ModuleType) -> AsyncIterator[Bank]:
    consumed, heard = worker.bank_topics(stage.topic.name)
    await topic_admin.ensure(stage.settings, [*consumed, *heard])
    yield Bank(stage, worker, consumed, heard)


async def test_kill_9_leaves_the_cards_as_an_undisturbed_run_would(
    bank: Bank, start_worker: Callable[[str], "Popen[bytes]"]
) -> None:
    first, second = bank.made(1000, seed=1), bank.made(1000, seed=2)
    await bank.put([*first, *bank.reports(first[::30])])
    process = start_worker("cards")
    await bank.until(400)
    process.kill()
    process.wait()
    await bank.put([*second, *bank.reports(first[1::30])])
    process = start_worker("cards")
    await bank.until(2000)
    await bank.put(bank.reports(second[::30]))
    process.terminate()
    assert await asyncio.to_thread(process.wait, 60) == 0

    assert await bank.answered() == {event.event_id for event in [*first, *second]}
    assert await bank.stage.committed() == 2000
    assert all(fold.saved is not None for fold in await bank.equals_undisturbed())  # none began from nothing


@pytest.mark.parametrize(
    ("offsets", "value"),
    [(b"[]", b"junk"), (b'{"rides/first": 1}', b"junk"), (None, b"junk"), (b'{"rides/1": 1}', None)],
    ids=["a list", "no partition", "no offsets", "no value"],
)
async def test_what_somebody_else_wrote_among_the_snapshots_is_named(
    bank: Bank, offsets: bytes | None, value: bytes | None
) -> None:
    headers = () if offsets is None else (("offsets", offsets),)
    topic = state_topic(bank.stage.name).name
    await bank.stage.put([Outgoing(topic, b"1", value, headers, 1)])
    snapshots = bank.snapshots()
    with pytest.raises(MillraceError, match=rf"{topic}/1@0 is no snapshot.*delete the topic"):
        await snapshots.restore(1, {})
    snapshots.close()


def test_what_was_taken_in_can_be_taken_back_to_however_much_it_was(worker: ModuleType) -> None:
    ready, events = worker.cards("any"), Events(users=50)
    fold, undisturbed = Fold(ready.agent, Cards), Cards()
    made = [events.transaction(amount_usd=number % 90) for number in range(_REMEMBERED + 3000)]
    for start in range(0, len(made), 1000):
        some = made[start : start + 1000]
        fold.extract(some)
        fold.keep(some)
        undisturbed.extract(some)
    for _ in range(2):
        fold.extract(made[:500])
        fold.undo()
    assert fold.dump() == undisturbed.dump()


async def test_a_report_reaches_the_state_of_every_partition_while_it_runs(bank: Bank) -> None:
    stage = bank.stage
    loop = stage.loop_of(bank.worker.cards(stage.name), bank.consumed, bank.heard)
    made = bank.made(60)
    async with stage.running(loop):
        await bank.put(made)
        await bank.until(60)
        await bank.put(bank.reports(made[:1]))
        deadline = asyncio.get_running_loop().time() + 60
        terminal = made[0].terminal_id
        while not all(fold._state._terminals.find([terminal])[0] >= 0 for fold in loop._folds.values()):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        assert len(loop._folds) == stage.settings.partitions


async def test_a_report_that_is_being_heard_as_the_worker_stops_is_counted_once(bank: Bank) -> None:
    ready, made, hearing = bank.worker.cards(bank.stage.name), bank.made(60), threading.Event()

    def features(events: Sequence[Any], state: Any) -> Any:
        found = ready.agent.features(events, state)
        if isinstance(events[0], FraudReported):
            hearing.set()
            time.sleep(0.2)
        return found

    slow = replace(ready, agent=replace(ready.agent, features=features))
    async with bank.stage.running(bank.loop_that_commits_at_its_end(slow, bank.stage.producer)):
        await bank.put(made)
        await bank.until(60)
        await bank.put(bank.reports(made[:1]))
        assert await asyncio.to_thread(hearing.wait, 60)
    await bank.equals_undisturbed()


async def test_what_was_scored_but_not_delivered_is_in_no_snapshot(bank: Bank) -> None:
    ready, made, failing = bank.worker.cards(bank.stage.name), bank.made(120), _Failing(bank.stage.producer)
    async with bank.stage.running(bank.loop_that_commits_at_its_end(ready, failing)) as task:
        await bank.put(made[:60])
        await bank.until(60)
        failing.fails = True
        await bank.put(made[60:])
        with pytest.raises(MillraceError, match="away"):
            await task
    await bank.equals_undisturbed()


async def test_a_snapshot_that_was_written_over_by_an_older_one_is_caught_up_with(bank: Bank) -> None:
    made, reports = bank.made(300), bank.reports(bank.made(20))
    await bank.put([*made[:200], *reports[:10]])
    snapshots, partition = bank.snapshots(), 1
    old = await snapshots.restore(partition, await bank.ends(partition))
    await bank.put([*made[200:], *reports[10:]])
    new = await snapshots.restore(partition, await bank.ends(partition))
    await snapshots.save(partition, new)
    await snapshots.save(partition, old)
    undisturbed = (await bank.undisturbed(partition)).dump()
    found = await snapshots.restore(partition, await bank.ends(partition))
    assert found.offsets == new.offsets
    assert found.dump() == undisturbed

    snapshots.close()


async def test_a_snapshot_of_a_log_that_is_no_more_makes_nobody_pass_over_the_new_one(bank: Bank) -> None:
    """A topic was deleted and made anew, the snapshots were kept."""
    await bank.put(bank.made(60))
    snapshots, partition = bank.snapshots(), 1
    old = snapshots.fresh()
    old.seen(TopicPartition(bank.consumed[0].name, partition), 10_000)
    await snapshots.save(partition, old)
    found, ends = await snapshots.restore(partition, await bank.ends(partition)), await bank.ends(partition)
    assert {where: found.offsets[where] for where in ends} == ends
    assert found.dump() == (await bank.undisturbed(partition)).dump()
    snapshots.close()


async def test_a_state_that_missed_something_it_hears_reads_it_before_the_next(bank: Bank) -> None:
    snapshots, partition = bank.snapshots(), 1
    await bank.put(bank.reports(bank.made(60)))
    fold = snapshots.fresh()
    for topic in bank.heard:
        for number in range(bank.stage.settings.partitions):
            async with reader(bank.stage.settings.kafka, topic.name, number) as source:
                records = [one async for some in source.records(*await source.bounds()) for one in some]
            await snapshots.hear(fold, records[-1:])
    assert fold.dump() == (await bank.undisturbed(partition)).dump()
    snapshots.close()
