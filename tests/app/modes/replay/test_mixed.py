"""A state over several topics, replayed: by time, and for a check in the very order in which it had come about live."""

import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from sqlalchemy import select

from app import topic_admin
from app.bus import Outgoing
from app.codec import Decoder, Record, encode
from app.errors import ConfigurationError
from app.events import AnyTransaction, FraudReported, TransactionMade
from app.modes.consuming.read import reader
from app.modes.replay.astray import Astray
from app.modes.replay.course import Stage, along, ends, settled, stage_of
from app.modes.replay.plan import Chosen, Order, Part, Place, Span, TopicRange
from app.modes.replay.retrace import retrace
from app.modes.replay.run import Worker
from app.modes.replay.score import load
from app.modes.replay.sources import TopicSource
from app.modes.replay.targets import StoreTarget
from app.modes.scoring.state import STANDS
from app.modes.stream import Ready
from app.predictions import PredictionBatch
from app.registry import Registry, shipped_root
from app.sql.replay_schema import failures
from app.testing import START, Events, outgoing
from app.topics import CARD_PREDICTIONS, Topic
from tests.app.modes.replay.faults import Died, Once
from tests.app.modes.replay.named import Named

SOURCES = ("atm", "online", "pos")
COUNT = 240
_events = Decoder[AnyTransaction](AnyTransaction)


@dataclass
class Bank:
    """Transactions on three topics of a test's own, reports on a fourth, and `fraud` under a name of its own."""

    stage: Any
    ready: Ready
    own: list[Topic]
    heard: list[Topic]

    def source(self, most: int = 64, **wanted: Any) -> TopicSource:
        settings = self.stage.settings
        return TopicSource(settings, TopicRange(**wanted), most, lambda _: self.own, lambda _: self.heard)

    def life(self, seed: int) -> list[AnyTransaction]:
        """Some cards' transactions, close to each other on all topics, each tenth reported soon."""
        rng, events = random.Random(seed), Events(f"{self.stage.name}-{seed}")
        life: list[AnyTransaction] = []
        for number in range(COUNT):
            made = events.transaction(
                card_id=f"card{rng.randrange(20)}",
                terminal_id=f"shop{rng.randrange(5)}",
                amount_usd=rng.randint(100, 90_000) / 100,
                at=START + timedelta(minutes=number),
                source=rng.choice(SOURCES),
            )
            life += [made, told(made)] if number % 10 == 0 else [made]
        return life

    async def put(self, events: Sequence[AnyTransaction]) -> None:
        names = dict(zip(SOURCES, (topic.name for topic in self.own), strict=True))
        reports = self.heard[0].name
        await self.stage.put(
            [outgoing(each, reports if isinstance(each, FraudReported) else names[each.source]) for each in events]
        )

    async def said(self) -> dict[str, float]:
        """Event id -> what was said of it last."""
        records = await self.stage.read(CARD_PREDICTIONS.name)
        batches = [msgspec.json.decode(record.value, type=PredictionBatch) for record in records]
        return {row.event_id: row.value for batch in batches for row in batch.rows()}

    async def log(self) -> list[Record]:
        """All transactions and reports, in the order in which a replay reads them."""
        records = []
        for topic in (*self.own, *self.heard):
            for partition in range(self.stage.settings.partitions):
                async with reader(self.stage.settings.kafka, topic.name, partition) as source:
                    records += [one async for some in source.records(*await source.bounds()) for one in some]
        return sorted(records, key=lambda record: record.timestamp_ms)


def told(made: TransactionMade) -> FraudReported:
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    return FraudReported(**{**fields, "event_id": f"{made.event_id}.fraud"}, made_at=made.at)


@pytest_asyncio.fixture
async def bank(stage: Any, worker: Any) -> Bank:
    own, heard = worker.bank_topics(stage.topic.name)
    await topic_admin.ensure(stage.settings, [*own, *heard])
    return Bank(stage, worker.cards(stage.name), own, heard)


@pytest.fixture
def replay(bank: Bank, desk: Any) -> Any:
    """A run to its end, through workers that each die after so many slices, but the last; what it kept."""
    ready = load(Chosen("fraud", "1"), Registry(shipped_root()))

    async def run(name: str, source: Any, *deaths: int) -> list[tuple[Any, ...]]:
        book = await desk.begun(name, "fraud", source)
        for slices in deaths:
            dying = Once(source, slices)
            with pytest.raises(Died):
                await desk.worker(book, "fraud", dying).run()
        await Worker(book, source, {"fraud": ready}, StoreTarget(book), desk.directory, desk.pace).run()
        kept: list[tuple[Any, ...]] = desk.kept(name)
        return kept

    return run


async def one_by_one(bank: Bank) -> dict[str, float]:
    """What `fraud` says, event by event, of a log read by time; a partition after the other."""
    log, said = await bank.log(), dict[str, float]()
    agent, model = bank.ready.agent, bank.ready.model
    for partition in range(bank.stage.settings.partitions):
        state = agent.state() if agent.state else None
        for record in log:
            if record.topic == bank.heard[0].name or record.partition == partition:
                event = _events.decode(record.value)
                (value,) = agent.score(model, [event], state).values.tolist()
                if agent.scores(event):
                    said[event.event_id] = value
    return said


async def test_by_time_over_all_topics_whatever_the_slices_and_deaths(bank: Bank, replay: Any) -> None:
    for seed in range(4):  # in four goes, so that times differ
        await bank.put(bank.life(seed))
    whole = await replay("whole", bank.source())
    assert {row[2]: row[4] for row in whole} == await one_by_one(bank)
    assert len(whole) == 4 * COUNT
    assert await replay("hurt", bank.source(most=16), 3, 5, 2) == whole
    since = START + timedelta(minutes=COUNT // 2)
    read = [(record.topic, _events.decode(record.value)) for record in await bank.log()]
    later = {event.event_id for _, event in read if event.at >= since}
    assert await replay("later", bank.source(since=since)) == [row for row in whole if row[2] in later]
    online = {event.event_id for topic, event in read if topic == bank.own[1].name}
    assert await replay("online", bank.source(topic=bank.own[1].name)) == [row for row in whole if row[2] in online]


async def test_a_run_whose_beginning_is_forgotten_is_not_continued(bank: Bank, desk: Any) -> None:
    await bank.put(bank.life(1))
    source = bank.source(most=16)
    book = await desk.begun("r", "fraud", source)
    with pytest.raises(Died):
        await desk.worker(book, "fraud", Once(source, 3)).run()
    gone = next(part for span in await source.spans(bank.ready.agent) for part in span.parts if part.end)
    forgotten = {
        TopicPartition(topic.name, partition): RecordsToDelete(before_offset=-1)
        for topic in bank.own
        for partition in range(bank.stage.settings.partitions)
    }
    client = AIOKafkaAdminClient(bootstrap_servers=bank.stage.settings.kafka)
    await client.start()
    await client.delete_records(forgotten)
    await client.close()
    with pytest.raises(ConfigurationError, match="has forgotten what lay before"):
        await desk.worker(book, "fraud", source).run()
    # Nor one that could not tell any more in which order the state had read what is still there.
    untold = Span((Part(bank.heard[0].name, 0, 0, 0, 0),), Order("fraud", gone))
    with pytest.raises(ConfigurationError, match="has forgotten what lay before"):
        await anext(along(bank.stage.settings.kafka, untold, resumed=True), None)


async def test_in_the_order_in_which_it_was_read_live(bank: Bank, replay: Any, desk: Any) -> None:
    """Two workers, one after the other; what came while none was there and what nobody answered is read, too.

    What is no transaction is passed over, as it was live.
    """
    stage = bank.stage
    report = next(event for event in bank.life(0) if isinstance(event, FraudReported))
    for value in (b"{", encode(report)):
        await stage.put([Outgoing(bank.own[0].name, b"card1", value)])
    await stage.put([Outgoing(bank.heard[0].name, b"card1", b"{")])
    for seed in (1, 2):
        await bank.put(bank.life(seed))
        await stage.finished(stage.loop_of(bank.ready, bank.own, bank.heard), 2 + seed * COUNT)
    live = await bank.said()
    await bank.put(bank.life(3))
    source = Named(bank.source(most=50), bank.ready)
    kept = {row[2]: row[4] for row in await replay("r", source, 2, 3)}
    assert len(kept) == 3 * COUNT
    assert {event_id: kept[event_id] for event_id in live} == live
    with desk.replays.connected() as connection:
        failed = connection.execute(select(failures.c.cause, failures.c.offset).order_by(failures.c.offset)).all()
    assert failed == [("invalid_message", 0), ("unknown_message", 1)]
    by_time = {row[2]: row[4] for row in await replay("by time", bank.source())}
    assert any(by_time[event_id] != live[event_id] for event_id in live)


async def test_said_live_and_again_to_the_bit_though_a_worker_was_killed(
    bank: Bank, start_worker: Any, replay: Any
) -> None:
    stage, brokers = bank.stage, str(bank.stage.settings.kafka)
    await bank.put(bank.life(1))
    process = start_worker("cards")
    deadline = time.monotonic() + 40
    while not await stage.read(CARD_PREDICTIONS.name):
        assert time.monotonic() < deadline, "no answer"
    await bank.put(bank.life(2))
    process.kill()
    process.wait()
    await bank.put(bank.life(3))
    await stage.finished(stage.loop_of(bank.ready, bank.own, bank.heard), 3 * COUNT)

    found = await retrace(bank.ready, bank.source(), brokers)
    assert (found.differing, found.unsaid, found.unplaced) == (0, 0, 0)
    assert found.same >= 3 * COUNT
    kept = await replay("r", Named(bank.source(most=50), bank.ready))
    assert {row[2]: row[4] for row in kept} == await bank.said()
    since = START + timedelta(minutes=COUNT // 2)
    later = await retrace(bank.ready, bank.source(since=since), brokers)
    assert (later.differing, later.unsaid) == (0, 0)
    assert 3 * COUNT / 2 <= later.same < found.same

    record = (await stage.read(CARD_PREDICTIONS.name))[-1]
    said = msgspec.json.decode(record.value, type=PredictionBatch)
    wrong = replace_value(said, math.nextafter(said.value[0], math.inf))
    other = msgspec.structs.replace(said, version="2")
    for batch, headers in ((wrong, record.headers), (other, record.headers), (said, record.headers[:-1])):
        await stage.put([Outgoing(record.topic, None, encode(batch), headers, record.partition)])
    spoilt = await retrace(bank.ready, bank.source(), brokers)
    assert (spoilt.same, spoilt.differing) == (found.same + len(said) - 1, 1)
    assert (spoilt.unplaced, spoilt.others) == (len(said), {"2": len(said)})
    (difference,) = spoilt.differences
    assert (difference.offset, difference.live) == (said.offset[0], wrong.value[0])

    await bank.put(bank.life(4))
    assert (await retrace(bank.ready, bank.source(), brokers)).unsaid == COUNT


async def test_a_place_that_there_is_not_is_passed_over_and_told(
    bank: Bank, replay: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may write to the topic cannot hold up every replay, nor change what one says."""
    stage, brokers = bank.stage, str(bank.stage.settings.kafka)
    await bank.put(bank.life(1))
    await stage.finished(stage.loop_of(bank.ready, bank.own, bank.heard), COUNT)
    honest = await replay("honest", Named(bank.source(most=50), bank.ready))
    record = (await stage.read(CARD_PREDICTIONS.name))[-1]
    for offset in (10**15, -1):
        said = b'{"%s/0": %d}' % (bank.heard[0].name.encode(), offset)
        headers = (*(each for each in record.headers if each[0] != STANDS), (STANDS, said))
        await stage.put([Outgoing(record.topic, None, record.value, headers, record.partition)])

    found = await retrace(bank.ready, bank.source(), brokers)
    assert (found.same, found.differing, found.unsaid, found.unplaced) == (COUNT, 0, 0, 0)
    assert (found.astray.count, f"{CARD_PREDICTIONS.name}/{record.partition}@" in found.astray.first) == (2, True)
    assert await replay("again", Named(bank.source(most=50), bank.ready)) == honest
    (told,) = [each.message for each in caplog.records if each.name == along.__module__]
    assert told.startswith("note: passed over 2 records of predictions")
    assert found.astray.first in told


def replace_value(said: PredictionBatch, value: float) -> PredictionBatch:
    return msgspec.structs.replace(said, value=[value, *said.value[1:]])


def stage(topic: str, end: int, **before: int) -> Stage:
    return Stage(Place(topic, 0), {Place(name, 0): offset for name, offset in before.items()}, end)


@pytest.mark.parametrize("stood", [b"{", b"[]", b'{"a/0": "x"}', b'{"a/b": 1}', b"\xff", None])
def test_predictions_that_do_not_say_where_a_state_stood(stood: bytes | None) -> None:
    record = Record("p", 0, 0, 0, None, b"", () if stood is None else ((STANDS, stood),))
    assert stage_of(record, Place("a", 0), 0, 1, ends(Span((Part("a", 0, 0, 0, 9),)))) is None


@pytest.mark.parametrize("offset", [-1, 10, 10**15, 10**25])
def test_a_place_that_there_is_not_is_astray(offset: int) -> None:
    record = Record("p", 0, 4, 0, None, b"", ((STANDS, b'{"a/0": 0, "b/1": %d}' % offset),))
    span = Span((Part("a", 0, 0, 0, 9), Part("b", 1, 0, 0, 9)))
    astray, forged = Astray(), stage_of(record, Place("a", 0), 0, 1, ends(span))
    assert forged is not None
    assert astray.takes(record, forged.stood, ends(span))
    assert f"p/0@4 says that its state had come to {offset} on b/1, which ends at 9" in astray.first
    honest = stage_of(record._replace(headers=((STANDS, b'{"b/1": 9}'),)), Place("a", 0), 3, 9, ends(span))
    assert honest == Stage(Place("a", 0), {Place("a", 0): 3, Place("b", 1): 9}, 9)
    assert not astray.takes(record, honest.stood, ends(span))
    assert astray.takes(record, honest._replace(end=offset).stood, ends(span))
    assert astray.count == 2


async def test_a_state_that_was_taken_back_goes_on_from_there() -> None:
    kept = [stage("a", 3, a=0, b=0), stage("b", 2, a=3, b=0)]
    lost = [stage("a", 5, a=3, b=2), stage("b", 9, a=5, b=2)]
    again = [stage("b", 7, a=3, b=2), stage("a", 6, a=3, b=7)]

    async def all_of(stages: list[Stage]) -> AsyncIterator[Stage]:
        for each in stages:
            yield each

    assert [each async for each in settled(all_of([*kept, *lost, *again]))] == [*kept, *again]
    assert [each async for each in settled(all_of([*kept, *lost, *again]), within=1)] == [*kept, lost[0], *again]
