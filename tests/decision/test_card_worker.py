"""The card decision worker as a process of its own, on the real broker and Redis: what is decided, told, counted, survived."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import CommitFailedError
from aiokafka.structs import TopicPartition

from app import codec, topic_admin
from app.bus import KafkaProducer, Outgoing, partition_of
from app.decisions import Decision, DecisionBatch
from app.errors import ServiceUnavailable
from app.events import FraudReported, TransactionMade
from app.live import LiveUpdate
from app.live_log import connect
from app.predictions import Prediction, PredictionBatch
from app.settings import Settings
from app.sql.card_journal import CardJournal
from app.sql.card_ledger import Pending
from app.sql.ledger import SubjectKey
from app.store import Store
from app.testing import Events
from app.topics import ALERTS, CARD_DECISIONS, CARD_PREDICTIONS, CHARGEBACKS, DEAD_LETTERS, DECISIONS
from decision.card_worker import GROUP, TOPICS, CardWorker

PATIENCE_S = 60.0
RUN = "import uvloop; from app.settings import read_settings; from decision.card_worker import run; uvloop.run(run(read_settings()))"


class Process:
    """A card decision worker that can be killed and started again."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
            "MILLRACE_KAFKA": str(settings.kafka),
            "MILLRACE_REDIS": str(settings.redis),
            "MILLRACE_DATABASE": settings.database_url,
            "MILLRACE_SESSION_TIMEOUT": "PT3S",  # so long its successor waits for one that was killed
            **environment,
        }
        self.start()

    def start(self) -> None:
        self._child = subprocess.Popen([sys.executable, "-c", RUN], env=self._environment)

    def end(self, number: int) -> int:
        self._child.send_signal(number)
        return self._child.wait(60)


@contextmanager
def worker(settings: Settings, **environment: str) -> Iterator[Process]:
    process = Process(settings, **environment)
    try:
        yield process
    finally:
        process.end(signal.SIGTERM)


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[KafkaProducer]:
    await topic_admin.ensure(settings)
    await _pass_over(settings)
    producer = KafkaProducer(str(settings.kafka))
    yield producer
    await producer.close()


async def _pass_over(settings: Settings) -> None:
    """What other tests left on the topics is not ours to count; a worker of theirs may be in the group for its session yet."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, group_id=GROUP, enable_auto_commit=False)
    async with consumer, asyncio.timeout(PATIENCE_S):
        where = [TopicPartition(topic.name, p) for topic in TOPICS for p in range(settings.partitions)]
        consumer.assign(where)
        while True:
            try:
                return await consumer.commit(await consumer.end_offsets(where))
            except CommitFailedError:
                await asyncio.sleep(0.1)


def predicted(made: Sequence[TransactionMade], frauds: Collection[str] = ()) -> list[Outgoing]:
    """What the agent says of these: a record in columns for each partition."""
    by_partition = defaultdict(list)
    for each in made:
        by_partition[partition_of(each.key.encode(), 4)].append(each)
    return [
        Outgoing(CARD_PREDICTIONS.name, None, codec.encode(in_columns(some, frauds)), (), partition)
        for partition, some in by_partition.items()
    ]


def in_columns(made: Sequence[TransactionMade], frauds: Collection[str]) -> PredictionBatch:
    said = [
        Prediction(
            event_id=each.event_id, subject_id=each.transaction_id, user_id=each.user_id, kind="transaction",
            model="fraud", version="1", value=0.97 if each.event_id in frauds else 0.002, unit="probability",
            topic="transactions.pos", partition=0, offset=0, event_at=each.at, at=datetime.now(UTC), latency_ms=1.0,
            detail={"amount_usd": each.amount_usd, "terminal_id": each.terminal_id, "source": each.source},
        )
        for each in made
    ]  # fmt: skip
    return PredictionBatch.of(said, [each.key for each in made])


def reported(made: TransactionMade) -> Outgoing:
    report = FraudReported(
        event_id=f"{made.event_id}.fraud", user_id=made.user_id, at=made.at, transaction_id=made.transaction_id,
        card_id=made.card_id, terminal_id=made.terminal_id, source=made.source, amount_usd=made.amount_usd,
        made_at=made.at,
    )  # fmt: skip
    return Outgoing(CHARGEBACKS.name, report.key.encode(), codec.encode(report))


class Heard:
    """What topics say, by topic and id, from where they ended when it began: of `decisions.transactions`, action by event."""

    def __init__(self, consumer: AIOKafkaConsumer, mine: str) -> None:
        self._consumer, self._mine = consumer, mine
        self.values: dict[str, dict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        self.actions: dict[str, set[str]] = defaultdict(set)

    async def until(self, enough: Callable[["Heard"], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not enough(self):
            assert time.monotonic() < deadline, (len(self.actions), {t: len(ids) for t, ids in self.values.items()})
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    self._hear(record)

    def _hear(self, record: ConsumerRecord) -> None:
        if record.topic == CARD_DECISIONS.name:
            made = msgspec.json.decode(record.value, type=DecisionBatch)
            for event_id, action in zip(made.event_id, made.action, strict=True):
                if event_id.startswith(self._mine):
                    self.actions[event_id].add(action)
        elif self._mine.encode() in record.value:
            self.values[record.topic][codec.header(record.headers, "ce_id") or ""].append(record.value)

    def decision(self, decision_id: str) -> Decision:
        (value,) = set(self.values[DECISIONS.name][decision_id])
        return msgspec.json.decode(value, type=Decision)


@asynccontextmanager
async def hearing(settings: Settings, cards: str, *topics: str) -> AsyncIterator[Heard]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, p) for topic in topics for p in range(settings.partitions)])
        await consumer.seek_to_end()
        for where in consumer.assignment():
            await consumer.position(where)
        yield Heard(consumer, cards)
    finally:
        await consumer.stop()


async def told(settings: Settings, user: str) -> list[dict[str, object]]:
    """The user's live log."""
    redis = connect(str(settings.redis))
    try:
        return [json.loads(fields[b"b"]) for _, fields in await redis.xrange(f"live:user:{user}")]
    finally:
        await redis.aclose()


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline


async def test_a_fraud_is_blocked_alerted_told_and_counted(
    settings: Settings, producer: KafkaProducer, namespace: str
) -> None:
    good, bad = (Events(namespace, users=1).transaction(event_id=f"{namespace}-{name}") for name in ("g", "b"))
    bad = msgspec.structs.replace(bad, transaction_id=f"{namespace}-bad")
    store = Store.open(settings.database_url)
    async with hearing(
        settings, namespace, DECISIONS.name, CARD_DECISIONS.name, ALERTS.name, DEAD_LETTERS.name
    ) as heard:
        with worker(settings) as process:
            poison = Outgoing(CARD_PREDICTIONS.name, None, b'{"type": "%b"}' % namespace.encode(), (), 0)
            await producer.send([poison, *predicted([good, bad], frauds=[bad.event_id]), reported(bad)])
            await heard.until(lambda h: len(h.values[DECISIONS.name]) == 2 and len(h.values[DEAD_LETTERS.name]) == 1)
            await heard.until(lambda h: h.actions == {good.event_id: {"allow"}, bad.event_id: {"block"}})
            await heard.until(lambda h: len(h.values[ALERTS.name]) == 1)
            await eventually(lambda: [each.reported for each in store.charge_tallies()] == [0, 1])
            assert process.end(signal.SIGTERM) == 0
    assert heard.decision(f"{good.event_id}.0").action == "allow"
    blocked = heard.decision(f"{bad.event_id}.0")
    assert blocked.action == "block"
    assert heard.values[ALERTS.name] == {blocked.decision_id: heard.values[DECISIONS.name][blocked.decision_id]}
    (message,) = await told(settings, bad.user_id)
    assert (message["type"], message["kind"], message["action"]) == ("decision", "transaction", "block")
    assert message["predictions"][0]["detail"]["terminal_id"] == bad.terminal_id  # type: ignore[index]  # a list of objects
    assert store.decision(SubjectKey(bad.user_id, bad.transaction_id)) == blocked
    assert store.decision(SubjectKey(good.user_id, good.transaction_id)) is not None, "few enough to be kept"
    assert store.actions() == {"allow": 1, "block": 1}
    store.close()


async def test_kill_9_loses_nothing_and_counts_nothing_twice(
    settings: Settings, producer: KafkaProducer, namespace: str
) -> None:
    """Predictions stream in, one in ten of a fraud, some said twice; the worker is killed again and again."""
    rng, events = random.Random(5), Events(namespace, users=50)
    made = [events.transaction() for _ in range(6000)]
    frauds = {each.event_id for each in made if rng.random() < 0.1}
    async with hearing(settings, namespace, DECISIONS.name, CARD_DECISIONS.name, ALERTS.name) as heard:
        with worker(settings, MILLRACE_KEEP_ALLOWED="0") as process:
            for start in range(0, len(made), 100):
                part = made[start : start + 100]
                said = predicted(part, frauds) + predicted(part[::50], frauds)
                await producer.send([*said, *(reported(each) for each in part if each.event_id in frauds)])
                if start in (1500, 4000):
                    already = len(heard.actions)
                    await heard.until(lambda h, already=already: len(h.actions) > already + 200)  # type: ignore[misc]  # bound now
                    process.end(signal.SIGKILL)
                    process.start()
            await heard.until(lambda h: len(h.actions) == len(made))
            await heard.until(lambda h: len(h.values[DECISIONS.name]) == len(h.values[ALERTS.name]) == len(frauds))
            store = Store.open(settings.database_url)
            await eventually(lambda: _all_counted(store, len(made), len(frauds)))
            assert process.end(signal.SIGTERM) == 0
    for each in made:
        (action,) = heard.actions[each.event_id]
        assert (action == "allow") == (each.event_id not in frauds)
    assert set(heard.values[DECISIONS.name]) == set(heard.values[ALERTS.name]) == {f"{name}.0" for name in frauds}
    assert _all_counted(store, len(made), len(frauds))
    held = [heard.decision(f"{name}.0") for name in frauds]
    assert all(store.decision(SubjectKey(each.user_id, each.subject_id)) == each for each in held)
    store.close()


def _all_counted(store: Store, made: int, frauds: int) -> bool:
    tallies = {each.action: (each.decided, each.reported) for each in store.charge_tallies()}
    held = [sum(column) for column in zip(*(tallies.get(name, (0, 0)) for name in ("review", "block")), strict=True)]
    return tallies.get("allow") == (made - frauds, 0) and held == [frauds, frauds]


async def test_two_workers_share_the_cards(settings: Settings, producer: KafkaProducer, namespace: str) -> None:
    events = Events(namespace, users=60)
    made = [events.transaction() for _ in range(1000)]
    assert {partition_of(each.key.encode(), settings.partitions) for each in made} == set(range(settings.partitions))
    store = Store.open(settings.database_url)
    async with hearing(settings, namespace, CARD_DECISIONS.name) as heard:
        with worker(settings, MILLRACE_KEEP_ALLOWED="0"), worker(settings, MILLRACE_KEEP_ALLOWED="0"):
            for start in range(0, len(made), 100):
                await producer.send(predicted(made[start : start + 100]))
            await heard.until(lambda h: len(h.actions) == len(made))
            await eventually(lambda: _all_counted(store, len(made), 0))
    store.close()


class Away(CardJournal):
    """A database that does not answer for a while when something is to be settled."""

    away = True
    refused = threading.Event()

    def settle(self, pending: Pending, now: datetime) -> None:
        if self.away:
            self.refused.set()
            raise ServiceUnavailable("database", "away")
        super().settle(pending, now)


class NoRedis:
    async def publish(self, updates: Sequence[LiveUpdate]) -> None:
        raise ServiceUnavailable("redis", "away")


async def test_stopped_while_what_redis_missed_is_made_up_for_it_commits_what_it_has_counted(
    settings: Settings, producer: KafkaProducer, namespace: str
) -> None:
    good, bad = (Events(namespace, users=1).transaction(event_id=f"{namespace}-{name}") for name in ("g", "b"))
    journal, store = Away.open(settings.database_url), Store.open(settings.database_url)
    only_at_the_end = settings.model_copy(update={"keep_allowed": 0, "commit_interval": timedelta(minutes=5)})
    working = asyncio.create_task(CardWorker(only_at_the_end, journal, producer, NoRedis()).serve())  # type: ignore[arg-type]
    async with hearing(settings, namespace, DECISIONS.name) as heard:
        (where,) = await producer.send(predicted([good, bad], frauds=[bad.event_id]))
        await heard.until(lambda h: len(h.values[DECISIONS.name]) == 1)
    assert await asyncio.to_thread(journal.refused.wait, PATIENCE_S)
    journal.away = False
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert {each.action: each.decided for each in store.charge_tallies()} == {"allow": 1, "block": 1}
    assert await _committed(settings, where.partition) == where.offset + 1
    journal.close()
    store.close()


async def _committed(settings: Settings, partition: int) -> int | None:
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka, group_id=GROUP, enable_auto_commit=False) as consumer:
        where = TopicPartition(CARD_PREDICTIONS.name, partition)
        consumer.assign([where])
        return await consumer.committed(where)
