"""Where a replay reads: topics, in ranges of offsets with a fixed end. `app.modes.replay.files` reads rows.

A source cuts its range into spans for an agent, and reads a span from any position in slices whose borders do not depend
on how the records arrived: whoever does a slice again does the same.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app import topic_admin
from app.agent import Agent
from app.codec import Record
from app.errors import ConfigurationError
from app.modes.read import reader
from app.modes.replay.plan import EVERY, Part, Span, TopicRange
from app.modes.stream import inputs
from app.settings import Settings
from app.topics import Topic

SLICE_RECORDS, SLICE_BYTES = 16_384, 8 << 20
"""Of one transaction: some tenths of a second of work, which is what a kill -9 costs, and memory that is bounded too when
every record is an upload of 100 kB."""

LANE_RECORDS = 131_072
"""A partition of an agent without state is cut so fine that workers that join late still find something to do."""

EARLY = timedelta(hours=1)
"""How far a client's clock may be ahead: an event is logged at the earliest this long before it says it happened."""


ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class Slice(NamedTuple):
    """Records in order, and the position in the span behind them."""

    records: Sequence[Record]
    position: int


class Source(Protocol):
    """A range of the past."""

    async def spans(self, agent: Agent) -> list[Span]:
        """The lanes in which this agent reads the range. Raises `ConfigurationError` where it cannot."""
        ...

    def topic(self, span: Span, agent: Agent) -> Topic:
        """Which messages there are: the topic whose events these are, or would be."""
        ...

    def slices(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        """The span from `position` on; the last slice ends at its size. Raises `ServiceUnavailable`."""
        ...

    @property
    def within(self) -> Callable[[datetime], bool] | None:
        """Whether an event of this time is asked for; `None`: of any time."""
        ...


class TopicSource:
    """`Source` over topics of the log.

    Args:
        most: records of a slice.
        topics: what an agent reads.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: TopicRange,
        most: int = SLICE_RECORDS,
        topics: Callable[[Agent], list[Topic]] = inputs,
    ) -> None:
        self._settings, self._wanted, self._most, self._inputs = settings, wanted, most, topics
        self._brokers = settings.kafka or ""

    async def spans(self, agent: Agent) -> list[Span]:
        """Lanes of a partition each, cut further for an agent without state; one for all if workers share a state."""
        cuts = []
        if agent.state is not None and (len(self._inputs(agent)) > 1 or agent.hears):
            raise ConfigurationError(
                f"agent {agent.name} keeps one state over several topics, and in which order it had read them is not known: "
                "its past cannot be replayed from there"
            )
        for topic in self._topics(agent):
            parts = await self._parts(topic, agent)
            if agent.shared is not None:
                cuts.append(Span(topic.name, tuple(parts)))
            elif agent.state is not None:
                cuts += [Span(topic.name, (part,)) for part in parts]
            else:
                cuts += [Span(topic.name, (piece,)) for part in parts for piece in _pieces(part)]
        return [span for span in cuts if span.size]

    def topic(self, span: Span, agent: Agent) -> Topic:
        return next(topic for topic in self._topics(agent) if topic.name == span.topic)

    def slices(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        return self._merged(span, position) if len(span.parts) > 1 else self._single(span, position)

    @property
    def within(self) -> Callable[[datetime], bool] | None:
        since, until = self._wanted.since or ALWAYS[0], self._wanted.until or ALWAYS[1]
        return None if (since, until) == ALWAYS else lambda at: since <= at < until

    def _topics(self, agent: Agent) -> list[Topic]:
        read = self._inputs(agent)
        if self._wanted.topic is None:
            return read
        chosen = [topic for topic in read if topic.name == self._wanted.topic]
        if not chosen:
            known = ", ".join(topic.name for topic in read)
            raise ConfigurationError(f"agent {agent.name} does not read {self._wanted.topic}; it reads {known}")
        return chosen

    async def _parts(self, topic: Topic, agent: Agent) -> list[Part]:
        found = (await topic_admin.describe(self._settings, [topic])).topics.get(topic.name)
        if found is None:
            raise ConfigurationError(f"there is no topic {topic.name} on {self._settings.kafka}")
        wanted = self._wanted.offsets
        if excess := [number for number in wanted if number >= found.partitions]:
            raise ConfigurationError(f"topic {topic.name} has no partition {excess[0]}, it has {found.partitions}")
        numbers = sorted(wanted) if wanted and EVERY not in wanted else range(found.partitions)
        remembers = agent.state is not None or agent.shared is not None
        return list(await asyncio.gather(*(self._part(topic.name, number, remembers) for number in numbers)))

    async def _part(self, topic: str, partition: int, remembers: bool) -> Part:
        """Fixed now: what is logged from here on is not part of the replay."""
        async with reader(self._brokers, topic, partition) as source:
            least, most = await source.bounds()
        wanted = self._wanted.offsets
        start, end = wanted.get(partition) or wanted.get(EVERY) or (least, most)
        start, end = min(max(start, least), most), min(max(end, least), most)
        if self._wanted.since is not None:
            start = max(start, await self._logged(topic, partition, self._wanted.since - EARLY, end))
        return Part(partition, least if remembers else start, start, max(end, start))

    async def _logged(self, topic: str, partition: int, since: datetime, end: int) -> int:
        """The first offset that was logged then or later."""
        where = TopicPartition(topic, partition)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._brokers, enable_auto_commit=False)
        await consumer.start()
        try:
            found = (await consumer.offsets_for_times({where: round(since.timestamp() * 1000)}))[where]
        finally:
            await consumer.stop()
        return end if found is None else int(found.offset)

    async def _single(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        (part,) = span.parts
        if position >= span.size:
            return
        async with reader(self._brokers, span.topic, part.partition) as source:
            async for records in sliced(source.records(part.first + position, part.end), self._most):
                yield Slice(records, records[-1].offset + 1 - part.first)
                position = records[-1].offset + 1 - part.first
        if position < span.size:
            yield Slice([], span.size)  # what lies at the end was compacted away, or is no record

    async def _merged(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        """By the broker's timestamps; read from the beginning, for a position says how many came, not from where."""
        passed = 0
        async with AsyncExitStack() as stack:
            parts = []
            for part in span.parts:
                source = await stack.enter_async_context(reader(self._brokers, span.topic, part.partition))
                parts.append(source.records(part.first, part.end))
            async for records in sliced(_by_time(parts), self._most):
                passed += len(records)
                if passed > position:
                    fresh = records[-(passed - position) :] if passed - position < len(records) else records
                    yield Slice(fresh, passed)
        if max(passed, position) < span.size:
            yield Slice([], span.size)


def _pieces(part: Part) -> Iterator[Part]:
    for start in range(part.start, part.end, LANE_RECORDS):
        yield Part(part.partition, start, start, min(start + LANE_RECORDS, part.end))


async def sliced(pieces: AsyncIterator[Sequence[Record]], most: int) -> AsyncIterator[list[Record]]:
    """The same records in slices of `most` records or `SLICE_BYTES`; their borders rest on the records alone."""
    waiting: list[Record] = []
    size = 0
    async for records in pieces:
        for record in records:
            waiting.append(record)
            size += len(record.value or b"")
            if len(waiting) >= most or size >= SLICE_BYTES:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting


Head = tuple[int, int, int, Record, Iterator[Record], AsyncIterator[list[Record]]]


async def _by_time(parts: Sequence[AsyncIterator[list[Record]]]) -> AsyncIterator[list[Record]]:
    """All partitions in one order: by the broker's timestamp, then partition; each partition keeps its own order."""
    heads: list[Head] = []
    for part in parts:
        await _next_piece(heads, part)
    while heads:
        merged = []
        while heads:
            *_, record, rest, part = heappop(heads)
            merged.append(record)
            following = next(rest, None)
            if following is None:
                await _next_piece(heads, part)
                break
            heappush(heads, _head(following, rest, part))
        yield merged


async def _next_piece(heads: list[Head], part: AsyncIterator[list[Record]]) -> None:
    async for piece in part:
        rest = iter(piece)
        heappush(heads, _head(next(rest), rest, part))
        return


def _head(record: Record, rest: Iterator[Record], part: AsyncIterator[list[Record]]) -> Head:
    return record.timestamp_ms, record.partition, record.offset, record, rest, part
