"""The course a state that mixes topics took live: where it stood, batch after batch, and the records it had read by then.

Kafka keeps no order between topics, so each record of predictions says which offsets the state had come to
(`app.modes.scoring.state.STANDS`). What it read between two batches, without answering it, is taken by time: for the state it makes no
difference, because one that mixes topics must not depend on their order (`app.agent.agent`). Below `app.modes.replay.sources`,
which reads along it, and `app.modes.replay.retrace`, which compares.
"""

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from operator import attrgetter
from typing import NamedTuple

from msgspec import Struct

from app.codec import SOURCE, Decoder, Record, header
from app.errors import ConfigurationError, InvalidMessage
from app.modes.consuming.read import Reader, reader
from app.modes.replay.astray import Astray
from app.modes.replay.merging import merged
from app.modes.replay.plan import Order, Part, Place, Span
from app.modes.scoring.state import stands
from app.predictions import PredictionBatch

log = logging.getLogger(__name__)

_offset = attrgetter("offset")

UNSETTLED = 4096
"""Batches of a partition that are looked back on. What is committed every second is never so many, and a
worker that is stuck is replaced after a minute."""


class _Answered(Struct, tag_field="type", tag=str(PredictionBatch.__struct_config__.tag)):
    """Of `PredictionBatch`, which records it answers: all that is needed to read along, at a tenth of the cost."""

    topic: str
    partition: int
    offset: list[int]


_decoder: Decoder[_Answered] = Decoder(_Answered)


class Stage(NamedTuple):
    """One batch: where the state stood before it, on every partition it is a fold over, and the end of what it answers."""

    place: Place
    before: Mapping[Place, int]
    end: int

    @property
    def stood(self) -> Iterable[tuple[Place, int]]:
        """Where the state stood before it, and after it on its own partition."""
        return (*self.before.items(), (self.place, self.end))

    def leads_to(self, other: "Stage") -> bool:
        """Whether the state could have gone on from here to there."""
        after = {**self.before, self.place: self.end}
        return all(after[place] <= offset for place, offset in other.before.items())


class Course:
    """A way through the partitions of a span, from their beginnings; it only leads forward.

    Attributes:
        at: how far it has come.
    """

    def __init__(self, cursors: Mapping[Place, "_Cursor"]) -> None:
        self._cursors = cursors
        self.at = dict.fromkeys(cursors, 0)

    def leads_to(self, stage: Stage) -> bool:
        """Whether nothing was read yet that the state did not know then.

        A worker that took over stood at the last commit, and said again what its predecessor had said since: that is off
        this course.
        """
        return all(self.at[place] <= offset for place, offset in stage.before.items())

    async def to(self, offsets: Mapping[Place, int]) -> AsyncIterator[list[Record]]:
        """What lies before these offsets and was not read yet, by time."""
        ahead = [(place, end) for place, end in offsets.items() if end > self.at[place]]
        async for records in merged([self._cursors[place].upto(end) for place, end in ahead]):
            yield records
        self.at.update(ahead)


async def along(brokers: str, span: Span, resumed: bool = False) -> AsyncGenerator[list[Record], None]:
    """All records of a span as they were read live, and by time what is not known to have been. Raises as `course`.

    What was answered a second time, because a worker was killed before it had committed, comes as it was read then. What
    went astray is logged.
    """
    astray = Astray()
    async with course(brokers, span, resumed) as way:
        if span.order is not None:
            if resumed:
                await still_told(brokers, span.order)
            async for stage in settled(stages(brokers, span.order, span, astray)):
                if way.leads_to(stage):
                    async for records in way.to(stage.before):
                        yield records
                    async for records in way.to({stage.place: stage.end}):
                        yield records
        if astray.count:
            log.warning("note: %s", astray)
        async for records in way.to(ends(span)):
            yield records


def ends(span: Span) -> dict[Place, int]:
    """The end of everything there is to read."""
    return {Place(part.topic, part.partition): part.end for part in span.parts}


@asynccontextmanager
async def course(brokers: str, span: Span, resumed: bool = False) -> AsyncGenerator[Course, None]:
    """The course through a span, from its beginning. Raises `ServiceUnavailable`, and what `still_there` does if `resumed`."""
    async with AsyncExitStack() as stack:
        cursors = {}
        for part in span.parts:
            partition = await stack.enter_async_context(reader(brokers, part.topic, part.partition))
            if resumed:
                await still_there(partition, part)
            cursors[Place(part.topic, part.partition)] = _Cursor(partition.records(part.first, part.end))
        yield Course(cursors)


async def still_there(source: Reader, part: Part) -> None:
    """Raises `ConfigurationError` when the log has lost the beginning of what a run has read before."""
    least, _ = await source.bounds()
    if part.first < min(least, part.end):
        raise ConfigurationError(
            f"{part.topic}/{part.partition} has forgotten what lay before offset {least} since this run began, "
            "so it cannot be continued: start anew"
        )


async def still_told(brokers: str, order: Order) -> None:
    """Likewise of what tells the order."""
    async with reader(brokers, order.part.topic, order.part.partition) as source:
        await still_there(source, order.part)


async def said(brokers: str, order: Order) -> AsyncIterator[list[Record]]:
    """The records of predictions that tell the order. Raises `ServiceUnavailable`."""
    part, by = order.part, f"{SOURCE}/agents/{order.agent}"
    async with reader(brokers, part.topic, part.partition) as source:
        async for records in source.records(part.first, part.end):
            yield [record for record in records if header(record.headers, "ce_source") == by]


async def stages(brokers: str, order: Order, span: Span, astray: Astray) -> AsyncIterator[Stage]:
    """Where the state stood, as it was said; what cannot be true goes `astray`."""
    last = ends(span)
    async for records in said(brokers, order):
        messages, _ = _decoder.decode_batch(records)
        for record, answered in zip(records, messages, strict=True):
            if answered is not None and answered.offset:
                place, end = Place(answered.topic, answered.partition), answered.offset[-1] + 1
                stage = stage_of(record, place, answered.offset[0], end, last)
                if stage is not None and not astray.takes(record, stage.stood, last):
                    yield stage


async def settled(all_stages: AsyncIterator[Stage], within: int = UNSETTLED) -> AsyncIterator[Stage]:
    """Without those that a state was taken back behind: whoever took over began where its predecessor had last committed."""
    waiting = deque[Stage]()
    async for stage in all_stages:
        while waiting and not waiting[-1].leads_to(stage):
            waiting.pop()
        waiting.append(stage)
        if len(waiting) > within:
            yield waiting.popleft()
    for stage in waiting:
        yield stage


def stage_of(record: Record, place: Place, first: int, end: int, known: Collection[Place]) -> Stage | None:
    """Where the state stood before this batch of answers; `None` where it does not say, or it is of none of the `known` places."""
    try:
        told = stands(record.headers)
    except InvalidMessage:
        return None  # anybody may write to a topic
    if told is None or place not in known:
        return None
    stood = {Place(*where): offset for where, offset in told.items()}
    return Stage(place, {**{each: stood.get(each, 0) for each in known}, place: first}, end)


class _Cursor:
    """One partition from its beginning on, in steps."""

    def __init__(self, pieces: AsyncIterator[list[Record]]) -> None:
        self._pieces, self._waiting = pieces, list[Record]()

    async def upto(self, end: int) -> AsyncIterator[list[Record]]:
        """What lies before `end` and was not read yet, in pieces."""
        while True:
            if not self._waiting:
                self._waiting = await anext(self._pieces, [])
            cut = bisect_left(self._waiting, end, key=_offset)
            taken, self._waiting = self._waiting[:cut], self._waiting[cut:]
            if not taken:
                return
            yield taken
