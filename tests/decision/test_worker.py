"""The decision worker as a process of its own, on the real broker and Redis: what is decided, told, refused, survived."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from app import codec, topic_admin
from app.bus import KafkaProducer, Outgoing
from app.decisions import Decision
from app.events import ContentUploaded, Event, Place, RideCompleted, RideRequested
from app.live_log import connect
from app.predictions import Prediction
from app.settings import Settings
from app.sql.ledger import SubjectKey
from app.store import Store
from app.topics import DEAD_LETTERS, DECISIONS, PREDICTIONS, RIDES, UPLOADS
from decision.policy import EXPECTED
from decision.reading import PATIENCE as HELD_BACK

PATIENCE_S = 60.0
RUN = "import uvloop; from app.settings import read_settings; from decision.worker import run; uvloop.run(run(read_settings()))"


class Process:
    """A decision worker that can be killed and started again."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
            "MILLRACE_KAFKA": str(settings.kafka),
            "MILLRACE_REDIS": str(settings.redis),
            "MILLRACE_DATABASE": settings.database_url,
            **environment,
        }
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._child = subprocess.Popen([sys.executable, "-c", RUN], env=self._environment)

    def end(self, number: int) -> int:
        assert self._child is not None
        self._child.send_signal(number)
        return self._child.wait(60)

    @property
    def ended(self) -> int | None:
        assert self._child is not None
        return self._child.poll()


@contextmanager
def worker(settings: Settings, **environment: str) -> Iterator[Process]:
    process = Process(settings, **environment)
    process.start()
    try:
        yield process
    finally:
        if process.ended is None:
            process.end(signal.SIGKILL)


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[KafkaProducer]:
    await topic_admin.ensure(settings)
    producer = KafkaProducer(str(settings.kafka))
    yield producer
    await producer.close()


def outgoing(message: Event | Prediction) -> Outgoing:
    topic = PREDICTIONS if isinstance(message, Prediction) else RIDES if message.kind == "ride" else UPLOADS
    return Outgoing(topic.name, message.user_id.encode(), codec.encode(message), codec.context(message))


def ride(name: str, user: str) -> RideRequested:
    place = Place(zone=7)
    return RideRequested(
        event_id=f"e-{name}", user_id=user, at=datetime.now(UTC), ride_id=name, pickup=place, dropoff=place
    )


def upload(name: str, user: str) -> ContentUploaded:
    return ContentUploaded(event_id=f"e-{name}", user_id=user, at=datetime.now(UTC), upload_id=name, title="t")


def answers(to: RideRequested | ContentUploaded, without: str | None = None, value: float = 0.1) -> list[Prediction]:
    now = datetime.now(UTC)
    return [
        Prediction(
            event_id=to.event_id,
            subject_id=to.subject_id,
            user_id=to.user_id,
            kind=to.kind,
            model=model,
            version="1",
            value=value,
            unit="min",
            topic="rides",
            partition=0,
            offset=0,
            event_at=to.at,
            at=now,
            latency_ms=1.0,
        )
        for model in EXPECTED[to.kind]
        if model != without
    ]


@asynccontextmanager
async def reading(settings: Settings, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Everything of a topic, from where it ends now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for p in sorted(await _partitions(consumer, topic))]
        consumer.assign(partitions)
        await consumer.seek_to_end()
        for partition in partitions:
            await consumer.position(partition)
        yield consumer
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.set_topics([topic])
    return consumer.partitions_for_topic(topic) or set()


class Decided:
    """What the topic `decisions` says of this test's users, by decision id."""

    def __init__(self, consumer: AIOKafkaConsumer, users: str) -> None:
        self._consumer, self._users = consumer, users
        self.values: dict[str, set[bytes]] = defaultdict(set)

    async def wait(self, enough: Callable[["Decided"], bool], within_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + within_s
        while not enough(self):
            assert time.monotonic() < deadline, f"after {within_s} s: {sorted(self.values)}"
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    if record.key.decode().startswith(self._users):
                        self.values[codec.header(record.headers, "ce_id") or ""].add(record.value)

    async def more(self) -> None:
        """Wait for the next decision."""
        already = len(self.values)
        await self.wait(lambda each: len(each.values) > already)

    def decision(self, decision_id: str) -> Decision:
        (value,) = self.values[decision_id]
        return msgspec.json.decode(value, type=Decision)


async def told(settings: Settings, user: str) -> list[dict[str, object]]:
    """The user's live log."""
    redis = connect(str(settings.redis))
    try:
        entries = await redis.xrange(f"live:user:{user}")
        return [json.loads(fields[b"b"]) for _, fields in entries]
    finally:
        await redis.aclose()


async def test_a_ride_an_upload_and_a_deadline(settings: Settings, producer: KafkaProducer, namespace: str) -> None:
    user, whole, partial, post = f"{namespace}-u", f"{namespace}-r1", f"{namespace}-r2", f"{namespace}-v"
    first, second, third = ride(whole, user), ride(partial, user), upload(post, user)
    late = [p for p in answers(second) if p.model == "tip"]
    async with reading(settings, DECISIONS.name) as consumer:
        decided = Decided(consumer, namespace)
        with worker(settings, MILLRACE_RIDE_DEADLINE="PT1S") as process:
            messages = [first, *answers(first), second, *answers(second, without="tip"), third, *answers(third)]
            await producer.send([outgoing(message) for message in messages])
            await decided.wait(lambda d: len(d.values) == 3)
            assert decided.decision(f"e-{whole}.0").missing == ()
            assert decided.decision(f"e-{partial}.0").missing == ("tip",)
            assert decided.decision(f"e-{post}.0").action == "keep"
            await producer.send([outgoing(message) for message in late])
            await decided.wait(lambda d: f"e-{partial}.1" in d.values)
            assert process.end(signal.SIGTERM) == 0
    live = [message.get("decision_id") or message["model"] for message in await told(settings, user)]
    assert sorted(map(str, live)) == sorted(
        [*EXPECTED["ride"], *EXPECTED["ride"], *EXPECTED["upload"], *decided.values]
    )
    store = Store.open(settings.database_url)
    for subject, last in ((whole, f"e-{whole}.0"), (partial, f"e-{partial}.1"), (post, f"e-{post}.0")):
        assert store.decision(SubjectKey(user, subject)) == decided.decision(last)
    receipt = store.receipt(SubjectKey(user, whole))
    assert receipt is not None
    (pushed,) = receipt["decisions"]  # type: ignore[misc]  # a list of dictionaries
    assert pushed["published"]
    assert pushed["position"]["topic"] == "decisions"
    store.close()


async def test_the_mark_at_a_transactions_end_holds_no_deadline_back(
    settings: Settings, producer: KafkaProducer, namespace: str
) -> None:
    """Nor does what a foreign producer of answers took back count as an answer."""
    user = f"{namespace}-u"
    first = ride(f"{namespace}-r1", user)
    foreign = AIOKafkaProducer(bootstrap_servers=settings.kafka, transactional_id=namespace)
    async with reading(settings, DECISIONS.name) as consumer, foreign:
        with worker(settings, MILLRACE_RIDE_DEADLINE="PT1S"):
            decided = Decided(consumer, namespace)
            await producer.send([outgoing(message) for message in [first, *answers(first)]])
            await decided.wait(lambda d: len(d.values) == 1)
            one, started = ride(f"{namespace}-r2", user), time.monotonic()
            given, taken_back = answers(one, without="tip"), [p for p in answers(one) if p.model == "tip"]
            for some in (taken_back, given):
                await foreign.begin_transaction()
                for record in map(outgoing, some):
                    await foreign.send_and_wait(record.topic, record.value, record.key, headers=list(record.headers))
                await (foreign.abort_transaction() if some is taken_back else foreign.commit_transaction())
            await producer.send([outgoing(one)])
            await decided.wait(lambda d: len(d.values) == 2)
            assert time.monotonic() - started < HELD_BACK.total_seconds()
    decision = decided.decision(f"e-{one.ride_id}.0")
    assert decision.missing == ("tip",)


async def test_poison_is_dead_lettered_and_the_rest_goes_on(
    settings: Settings, producer: KafkaProducer, namespace: str
) -> None:
    user = f"{namespace}-u"
    good = ride(f"{namespace}-r", user)
    strange = msgspec.structs.replace(answers(good)[0], subject_id="a\x00b")
    poison: list[bytes | None] = [
        b"{not json",
        b"",
        None,
        b"[1]",
        b'{"type": "millrace.prediction.v9"}',
        codec.encode(strange),
        codec.encode(answers(good)[0]).replace(b'"value":0.1', b'"value":1e999'),
        codec.encode(answers(good)[0])[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"x" * 1_048_000,  # as large as a topic takes by default
    ]
    async with reading(settings, DECISIONS.name) as consumer, reading(settings, DEAD_LETTERS.name) as letters:
        with worker(settings):
            bad = [Outgoing(PREDICTIONS.name, user.encode(), value) for value in poison]
            bad += [Outgoing(RIDES.name, user.encode(), value) for value in poison[:4]]
            await producer.send([*bad, *map(outgoing, [good, *answers(good)])])
            decided = Decided(consumer, namespace)
            await decided.wait(lambda d: len(d.values) == 1)
        found: list[tuple[str | None, bytes | None]] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < len(bad):
            assert time.monotonic() < deadline, found
            for records in (await letters.getmany(timeout_ms=100)).values():
                found += [
                    (codec.header(r.headers, "dlq.topic"), r.value)
                    for r in records
                    if r.key == user.encode() and codec.header(r.headers, "dlq.agent") == "decision"
                ]
    assert sorted(found, key=repr) == sorted(((record.topic, record.value) for record in bad), key=repr)


async def test_a_record_that_was_small_only_while_compressed_is_a_dead_letter_without_its_value(
    settings: Settings, producer: KafkaProducer, namespace: str
) -> None:
    good, size = ride(f"{namespace}-r", f"{namespace}-u"), 24 << 20
    async with reading(settings, DECISIONS.name) as consumer, reading(settings, DEAD_LETTERS.name) as letters:
        with worker(settings):
            foreign = AIOKafkaProducer(
                bootstrap_servers=settings.kafka, compression_type="gzip", max_request_size=2 * size
            )
            async with foreign:
                await foreign.send_and_wait(RIDES.name, b"x" * size, key=good.user_id.encode())
            await producer.send([outgoing(message) for message in [good, *answers(good)]])
            await Decided(consumer, namespace).wait(lambda d: len(d.values) == 1)
        async with asyncio.timeout(PATIENCE_S):  # the first fetch may bring other partitions' letters only
            letter = await anext(record async for record in letters if record.key == good.user_id.encode())
    assert letter.value is None
    assert codec.header(letter.headers, "dlq.omitted_bytes") == str(size + len(good.user_id))


async def test_kill_9_loses_nothing_and_decides_nothing_twice(
    settings: Settings, producer: KafkaProducer, namespace: str
) -> None:
    """Openings and answers stream in, some answers never come; the worker is killed again and again."""
    rng = random.Random(7)
    rides = [ride(f"{namespace}-r{i}", f"{namespace}-u{i % 40}") for i in range(600)]
    silent = {each.ride_id for each in rides if rng.random() < 0.1}
    async with reading(settings, DECISIONS.name) as consumer:
        decided = Decided(consumer, namespace)
        with worker(settings, MILLRACE_RIDE_DEADLINE="PT1S") as process:
            for start in range(0, len(rides), 20):
                batch = rides[start : start + 20]
                given = [p for r in batch for p in answers(r, without="eta" if r.ride_id in silent else None)]
                rng.shuffle(given)
                await producer.send([outgoing(message) for message in [*batch, *given]])
                if start in (200, 420):  # while it has decisions in hand that are not marked as pushed yet
                    await decided.more()
                    process.end(signal.SIGKILL)
                    process.start()
            truths = [
                RideCompleted(
                    event_id=f"t-{r.ride_id}", user_id=r.user_id, at=r.at, ride_id=r.ride_id, duration_min=9, fare_usd=9
                )
                for r in rides
            ]
            await producer.send([outgoing(truth) for truth in truths])
            await decided.wait(lambda d: len(d.values) >= len(rides), 60)
            store = Store.open(settings.database_url)
            await eventually(lambda: sum(e.n for e in store.live_errors() if e.model == "duration") == len(rides))
    assert sorted(decided.values) == sorted(f"e-{r.ride_id}.0" for r in rides)
    assert all(len(contents) == 1 for contents in decided.values.values()), "the same id with different contents"
    for each in rides:
        decision = decided.decision(f"e-{each.ride_id}.0")
        assert decision.missing == (("eta",) if each.ride_id in silent else ())
        assert store.decision(SubjectKey(each.user_id, each.ride_id)) == decision
    store.close()


async def eventually(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline
