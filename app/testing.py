"""What tests use in place of the services: the same contracts, in memory, and events to order.

Shipped with the package, so that an agent or a consumer of Millrace can be tested without a broker. The contract suite
in `tests/app/test_bus.py` runs on `MemoryBus` and on Kafka alike.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from app.asking.asker import Expected
from app.asking.requests import ASKED, Answer
from app.bus import Delivered, Outgoing, partition_of
from app.codec import Record, context, encode
from app.errors import DeliveryFailed, InvalidMessage, MillraceError, NotServed
from app.events import ContentUploaded, Event, Place, RideRequested, TransactionMade
from app.registry import Artifact
from app.topics import TOPICS

START = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
_ORDINARY_BYTES = 1 << 20
_MAX_BYTES = {topic.name: int(topic.config.get("max.message.bytes", _ORDINARY_BYTES)) for topic in TOPICS}


class Clock:
    """A clock that stands until it is moved.

    Example:
        >>> clock = Clock()
        >>> clock.advance(seconds=1.5)
        >>> (clock() - START).total_seconds()
        1.5
    """

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class MemoryBus:
    """`app.bus.Producer` and the topics behind it, in memory.

    Attributes:
        down: while set, every send fails as one to a broker that does not answer.
    """

    def __init__(self, partitions: int = 4, clock: Callable[[], datetime] | None = None) -> None:
        self._partitions, self._clock = partitions, clock or Clock()
        self._logs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.down = False

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        """See `app.bus.Producer.send`."""
        if self.down:
            raise DeliveryFailed("the memory bus is down")
        for record in records:
            if len(record.value or b"") > _MAX_BYTES.get(record.topic, _ORDINARY_BYTES):
                raise InvalidMessage("larger than its topic takes")
        return [self._append(record) for record in records]

    async def post(self, records: Sequence[Outgoing]) -> None:
        """See `app.bus.Producer.post`."""
        with suppress(MillraceError):
            await self.send(records)

    async def close(self) -> None:
        """Nothing is held."""

    def records(self, topic: str, partition: int | None = None) -> list[Record]:
        """What lies on a topic, partition by partition, in offset order."""
        return [
            record
            for (name, number), log in sorted(self._logs.items())
            if name == topic and partition in (None, number)
            for record in log
        ]

    def _append(self, record: Outgoing) -> Delivered:
        partition = partition_of(record.key, self._partitions) if record.partition is None else record.partition
        log = self._logs[record.topic, partition]
        timestamp_ms = round(self._clock().timestamp() * 1000)
        log.append(Record(record.topic, partition, len(log), timestamp_ms, record.key, record.value, record.headers))
        return Delivered(record.topic, partition, len(log) - 1)


class MemoryRegistry:
    """Artifacts by name, without files behind them: for agents whose `load` makes its model of the manifest alone."""

    def __init__(self, manifests: Mapping[str, Mapping[str, Any]], version: str = "1") -> None:
        self._artifacts = {
            name: Artifact(name, version, Path(name), dict(manifest)) for name, manifest in manifests.items()
        }

    def load(self, name: str) -> Artifact:
        return self._artifacts[name]


class MemoryAsker:
    """Answers questions by itself: a constant for every row, unless `problems` or `error` say otherwise.

    Attributes:
        values: one per row, over and over.
        problems: row -> why it has no value.
        error: raised instead of answering.
        absent: the agents no worker serves.
        asked: every question: (agent, events, seconds, publish).
        expected: every word that was wanted on an event: (agent, seconds).
    """

    def __init__(self, values: Sequence[float] = (1.0,), version: str = "1", unit: str = "min") -> None:
        self.values, self.version, self.unit = values, version, unit
        self.problems: dict[int, str] = {}
        self.error: MillraceError | None = None
        self.absent: set[str] = set()
        self.asked: list[tuple[str, tuple[Event, ...], float, bool]] = []
        self.expected: list[tuple[str, float]] = []

    def serves(self, agent: str) -> bool:
        return agent not in self.absent

    @contextmanager
    def expecting(self, agent: str, within_s: float) -> Iterator[Expected]:
        if agent in self.absent:
            raise NotServed(agent, "no worker serves it")
        self.expected.append((agent, within_s))
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(self._answer(agent, 1))
        yield Expected(((ASKED, agent.encode()),), _failing(self.error) if self.error else answer)

    async def ask(self, agent: str, events: Sequence[Event], within_s: float, *, publish: bool = False) -> Answer:
        if self.error is not None:
            raise self.error
        if agent in self.absent:
            raise NotServed(agent, "no worker serves it")
        self.asked.append((agent, tuple(events), within_s, publish))
        return self._answer(agent, len(events))

    def _answer(self, agent: str, rows: int) -> Answer:
        values = (None if row in self.problems else self.values[row % len(self.values)] for row in range(rows))
        return Answer(agent, self.version, self.unit, tuple(values), (None,) * rows, dict(self.problems))


async def _failing(error: MillraceError) -> Answer:
    raise error


class Events:
    """Makes valid events with ids of their own, a second apart.

    Example:
        >>> events = Events("demo")
        >>> [events.ride().event_id, events.upload(title="Cats").event_id]
        ['demo-e1', 'demo-e2']
    """

    def __init__(self, namespace: str = "t", users: int = 10, start: datetime = START) -> None:
        self._namespace, self._users, self._start = namespace, users, start
        self._number = count(1)

    def ride(self, **fields: Any) -> RideRequested:
        """A ride across Manhattan, unless `fields` say otherwise."""
        common = self._common("ride_id", "r")
        places = {"pickup": Place(zone=236), "dropoff": Place(zone=161)}
        return RideRequested(**{**common, **places, **fields})

    def upload(self, **fields: Any) -> ContentUploaded:
        """A harmless video, unless `fields` say otherwise."""
        common = self._common("upload_id", "v")
        return ContentUploaded(**{**common, "title": "How to sharpen a kitchen knife", **fields})

    def transaction(self, **fields: Any) -> TransactionMade:
        """Ten dollars at a till, unless `fields` say otherwise; each user has one card."""
        common = self._common("transaction_id", "t")
        card = {"card_id": f"{common['user_id']}-card", "terminal_id": "till-1", "source": "pos", "amount_usd": 10.0}
        return TransactionMade(**{**common, **card, **fields})

    def _common(self, subject: str, prefix: str) -> dict[str, Any]:
        number = next(self._number)
        return {
            "event_id": f"{self._namespace}-e{number}",
            "user_id": f"{self._namespace}-u{number % self._users}",
            "at": self._start + timedelta(seconds=number),
            subject: f"{self._namespace}-{prefix}{number}",
        }


def outgoing(event: Event, topic: str, traceparent: str | None = None) -> Outgoing:
    """An event as the gateway sends it."""
    return Outgoing(topic, event.key.encode(), encode(event), context(event, traceparent))


def record(event: Event, topic: str = "rides", partition: int = 0, offset: int = 0) -> Record:
    """An event as a worker receives it, timestamped with its event time."""
    timestamp_ms = round(event.at.timestamp() * 1000)
    return Record(topic, partition, offset, timestamp_ms, event.key.encode(), encode(event), context(event))
