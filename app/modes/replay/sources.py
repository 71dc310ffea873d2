"""Where a replay reads: topics, in ranges of offsets with a fixed end. `app.modes.replay.files` reads rows.

A source cuts its range into spans for an agent, and reads a span from any position in slices whose borders do not depend
on how the records arrived: whoever does a slice again does the same.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from app.agent import Agent
from app.codec import Decoder, Record
from app.errors import ConfigurationError
from app.events import AnyEvent
from app.modes.consuming.read import reader
from app.modes.replay.course import along
from app.modes.replay.decoding import MixedDecoder
from app.modes.replay.plan import Part, Span, TopicRange
from app.modes.replay.ranges import Ranges
from app.modes.replay.telling import in_turn
from app.modes.stream import heard, inputs
from app.settings import Settings
from app.topics import Topic

SLICE_RECORDS, SLICE_BYTES = 4_096, 8 << 20
"""Read, decoded and scored at once. Three slices are in hand: with 8,192 records they outgrow the processor's caches, and a
topic takes a sixth more of its time; with 2,048 handing over costs as much. With 100 kB each, the bytes bound the memory."""

ENTRY_RECORDS, STATE_ENTRY_RECORDS = 8_192, 32_768
"""Entered in one transaction, a tenth of a second of work, which is what a kill -9 costs. More of an agent with a state, which
is written down with every entry: 0.14 s of processor time for that of `fraud` with 25,000 cards, beside half a second for so
many records."""

LANE_RECORDS = 131_072
"""A partition of an agent without state is cut so fine that workers that join late still find something to do."""

ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


Within = Callable[[datetime], bool]


class Slice(NamedTuple):
    """Records in order, and the position in the span behind them."""

    records: Sequence[Record]
    position: int


class Source(Protocol):
    """A range of the past."""

    async def spans(self, agent: Agent) -> list[Span]:
        """The lanes in which this agent reads the range. Raises `ConfigurationError` where it cannot."""
        ...

    def decoder(self, agent: Agent) -> Decoder[AnyEvent]:
        """Reads its records as this agent would live."""
        ...

    def slices(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        """The span from `position` on; the last slice ends at its size. Raises `ServiceUnavailable`."""
        ...

    def every(self, span: Span) -> int:
        """After how many records a worker enters what came out; whoever goes on from an entry makes the same ones."""
        ...

    @property
    def within(self) -> Within | None:
        """Whether an event of this time is asked for; `None`: of any time."""
        ...


class TopicSource:
    """`Source` over topics of the log.

    Args:
        most: records of a slice.
        topics, hears: what an agent reads, and what all its states are told.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: TopicRange,
        most: int = SLICE_RECORDS,
        topics: Callable[[Agent], list[Topic]] = inputs,
        hears: Callable[[Agent], list[Topic]] = heard,
    ) -> None:
        self._settings, self._wanted, self._most, self._inputs, self._heard = settings, wanted, most, topics, hears
        self._brokers, self._ranges = settings.kafka or "", Ranges(settings, wanted)

    async def spans(self, agent: Agent) -> list[Span]:
        """Lanes of a partition each, cut further for an agent without state.

        One for all partitions if workers share a state, in the order in which it was told of their records. A state over
        several topics has a lane per partition number, through that partition of each and all it hears, in the order in which
        they were read live; what was never answered, by time.
        """
        wanted = self._topics(agent)
        if self.mixes(agent):
            cuts = await self._mixed(agent, wanted)
        elif agent.shared is not None:
            orders = await self._ranges.orders(agent)  # first: what is told of then lies before the ends below
            told = tuple(order for order in orders.values() if order.part.end > order.part.first)
            cuts = [Span(tuple(await self._ranges.asked(topic, remembers=True)), told=told) for topic in wanted]
        else:
            remembers = agent.state is not None
            parts = [part for topic in wanted for part in await self._ranges.asked(topic, remembers)]
            pieces = parts if remembers else [piece for part in parts for piece in _pieces(part)]
            cuts = [Span((piece,), state=remembers) for piece in pieces]
        return [span for span in cuts if span.size]

    def mixes(self, agent: Agent) -> bool:
        """Whether one state of the agent is a fold over several topics."""
        return agent.state is not None and len(self._inputs(agent)) + len(self._heard(agent)) > 1

    async def _mixed(self, agent: Agent, wanted: Sequence[Topic]) -> list[Span]:
        if self._wanted.offsets:
            raise ConfigurationError(
                f"--offsets: {agent.name} keeps one state over several topics, so say from when to when: --from, --to"
            )
        orders = await self._ranges.orders(agent)  # first: what an answer rests on then lies before the ends below
        by_number = defaultdict[int, list[Part]](list)
        for topic in self._inputs(agent):  # whole: the state must know all, and `within` tells the times asked for
            for part in await self._ranges.whole(topic):
                by_number[part.partition].append(part if topic in wanted else _only_known(part))
        told = [_only_known(part) for topic in self._heard(agent) for part in await self._ranges.whole(topic)]
        asked = {number: own for number, own in by_number.items() if any(part.start < part.end for part in own)}
        return [Span((*own, *told), orders.get(number), state=True) for number, own in sorted(asked.items())]

    def decoder(self, agent: Agent) -> Decoder[AnyEvent]:
        topics = [*self._inputs(agent), *self._heard(agent)]
        if len(topics) == 1:
            return Decoder(topics[0].messages)
        return MixedDecoder({topic.name: topic.messages for topic in topics})

    def slices(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        return self._single(span, position) if len(span.parts) == 1 else self._merged(span, position)

    def every(self, span: Span) -> int:
        return entry_records(span, self._most)

    @property
    def within(self) -> Within | None:
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

    async def _single(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        (part,) = span.parts
        if position >= span.size:
            return
        async with reader(self._brokers, part.topic, part.partition) as source:
            async for records in sliced(source.records(part.first + position, part.end), self._most):
                yield Slice(records, records[-1].offset + 1 - part.first)
                position = records[-1].offset + 1 - part.first
        if position < span.size:
            yield Slice([], span.size)  # what lies at the end was compacted away, or is no record

    async def _merged(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        """Read from the beginning, for a position says how many came, not from where."""
        passed, read = 0, in_turn if span.told else along
        async with aclosing(read(self._brokers, span, resumed=position > 0)) as pieces:
            async for records in sliced(pieces, self._most):
                passed += len(records)
                if passed > position:
                    fresh = records[-(passed - position) :] if passed - position < len(records) else records
                    yield Slice(fresh, passed)
        if max(passed, position) < span.size:
            yield Slice([], span.size)


def _pieces(part: Part) -> Iterator[Part]:
    for start in range(part.start, part.end, LANE_RECORDS):
        yield Part(part.topic, part.partition, start, start, min(start + LANE_RECORDS, part.end))


def late_beginnings(agent: Agent, spans: Sequence[Span]) -> list[str]:
    """What an agent that must know what came before cannot know, because the log has forgotten it; sentences."""
    resting = [span for span in spans if span.state or agent.shared is not None]
    forgotten = [next((part for part in span.parts if part.first > 0), None) for span in resting]
    return [
        f"note: {part.topic}/{part.partition} begins at offset {part.first}; what {agent.name} knew from "
        "before that is gone, so what it says of subjects that were open then may differ"
        for part in forgotten
        if part is not None
    ]


def _only_known(part: Part) -> Part:
    """The same, but nothing of it is answered."""
    return Part(part.topic, part.partition, part.first, part.end, part.end)


def entry_records(span: Span, most: int) -> int:
    """Records of an entry, where slices are of `most`: small ones, as a limited rate asks for, are entered one by one."""
    return most if most < SLICE_RECORDS else STATE_ENTRY_RECORDS if span.state else ENTRY_RECORDS


async def sliced(pieces: AsyncIterator[Sequence[Record]], most: int) -> AsyncIterator[list[Record]]:
    """The same records in slices of `most` records or `SLICE_BYTES`; their borders rest on the records alone."""
    waiting: list[Record] = []
    size = 0
    async for records in pieces:
        added = sum([len(record.value) for record in records if record.value])
        if len(waiting) + len(records) < most and size + added < SLICE_BYTES:
            waiting += records
            size += added
            continue
        for record in records:
            waiting.append(record)
            size += len(record.value or b"")
            if len(waiting) >= most or size >= SLICE_BYTES:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting
