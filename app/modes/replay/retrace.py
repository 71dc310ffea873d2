"""Checks what was said live on a state that mixes topics: comes to where it stood each time, and says it again.

Beside `app.modes.replay.verify`, along `app.modes.replay.course`.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.codec import Decoder, Record
from app.modes.replay.comparing import NOTHING, Table, Tabling, Verified, compare, digest_of, tables
from app.modes.replay.course import Course, Stage, course, ends, said, stage_of
from app.modes.replay.plan import Place, Span
from app.modes.replay.score import Scoring, memory_of
from app.modes.replay.sources import Source, Within
from app.modes.replay.verify import Told
from app.modes.stream import Ready
from app.predictions import Prediction, PredictionBatch

_decoder: Decoder[Prediction | PredictionBatch] = Decoder(Prediction | PredictionBatch)


class Batch(NamedTuple):
    """Answers that were given in one go, those of the range, and where the state stood before the first of them."""

    stage: Stage
    table: Table


async def retrace(ready: Ready, source: Source, brokers: str, told: Told = lambda _: None) -> Verified:
    """Compare all that was said of the range. Raises `ServiceUnavailable`.

    What is off the course, because it was said again after a kill, is kept aside and has a course of its own afterwards: one
    after the other, so that a worker that was killed again and again takes no more states and readers than another.
    """
    found = Verified(ready.agent.name, ready.version)
    for span in await source.spans(ready.agent):
        heard, aside = _Heard(found, span, source.within), list[Batch]()
        async with _tracing(ready, source, span, brokers, told) as trace:
            async for batch in heard.batches(brokers):
                if trace.course.leads_to(batch.stage):
                    compare(found, batch.stage.place, batch.table, await trace.say(batch))
                else:
                    heard.elsewhere[batch.stage.place].append(batch.table.offsets)
                    aside.append(batch)
            await trace.bring(ends(span))
        found.unsaid += heard.missing(trace.beside)
        while aside:
            async with _tracing(ready, source, span, brokers, told) as trace:
                left = []
                for batch in aside:
                    if trace.course.leads_to(batch.stage):
                        compare(found, batch.stage.place, batch.table, await trace.say(batch))
                    else:
                        left.append(batch)
                aside = left
    return found


class _Heard:
    """What was said of one span.

    Attributes:
        elsewhere: the offsets of answers that are not compared, or not on the first course.
    """

    def __init__(self, found: Verified, span: Span, within: Within | None) -> None:
        self._found, self._span, self._within = found, span, within
        self._ends = ends(span)
        self._ranges = {Place(part.topic, part.partition): (part.start, part.end) for part in span.parts}
        self.elsewhere = defaultdict[Place, list[NDArray[np.int64]]](list)

    async def batches(self, brokers: str) -> AsyncIterator[Batch]:
        """Those of the version in question that can be said again, in the order in which they lie; others are counted."""
        if self._span.order is None:
            return
        async for records in said(brokers, self._span.order):
            messages, _ = _decoder.decode_batch(records)
            for record, message in zip(records, messages, strict=True):
                if message is not None and (batch := self._take(record, message)) is not None:
                    yield batch

    def missing(self, answered: Mapping[Place, list[int]]) -> int:
        """How many of these nobody ever said."""
        nothing = [np.empty(0, np.int64)]
        known = {place: np.concatenate(self.elsewhere.get(place, nothing)) for place in answered}
        return sum(int((~np.isin(offsets, known[place])).sum()) for place, offsets in answered.items())

    def _take(self, record: Record, message: Prediction | PredictionBatch) -> Batch | None:
        place, tabling = Place(message.topic, message.partition), Tabling()
        start, end = self._ranges.get(place, (0, 0))
        for each in [message] if isinstance(message, Prediction) else message.rows():
            if start <= each.offset < end and (self._within is None or self._within(each.event_at)):
                tabling.add(each.offset, each.value, digest_of(each))
        table = tabling.sorted()
        if not len(table.offsets):
            return None
        stage = stage_of(record, place, int(table.offsets[0]), int(table.offsets[-1]) + 1, self._ends)
        if stage is not None and self._found.astray.takes(record, stage.stood, self._ends):
            return None
        if message.version == self._found.version and stage is not None:
            return Batch(stage, table)
        self.elsewhere[place].append(table.offsets)
        if message.version == self._found.version:
            self._found.unplaced += len(table.offsets)
        else:
            self._found.others[message.version] += len(table.offsets)
        return None


class _Trace:
    """A state on its course.

    Attributes:
        beside: offsets of the range that have an answer now, and had none in a batch on this course.
    """

    def __init__(self, scoring: Scoring, way: Course, told: Told) -> None:
        self._scoring, self.course, self._told = scoring, way, told
        self.beside = defaultdict[Place, list[int]](list)

    async def say(self, batch: Batch) -> Table:
        """What is said now, where the state stands as it stood then."""
        place = batch.stage.place
        await self.bring(batch.stage.before)
        now = (await self._answers({place: batch.stage.end})).get(place, NOTHING)
        self.beside[place] += now.offsets[~np.isin(now.offsets, batch.table.offsets)].tolist()
        return now

    async def bring(self, offsets: Mapping[Place, int]) -> None:
        for place, table in (await self._answers(offsets)).items():
            self.beside[place] += table.offsets.tolist()

    async def _answers(self, offsets: Mapping[Place, int]) -> dict[Place, Table]:
        found = defaultdict[Place, list[Table]](list)
        async for records in self.course.to(offsets):
            for place, table in tables(await self._scoring.answers(records)).items():
                found[place].append(table)
            self._told(len(records))
        return {place: Table(*map(np.concatenate, zip(*some, strict=True))) for place, some in found.items()}


@asynccontextmanager
async def _tracing(ready: Ready, source: Source, span: Span, brokers: str, told: Told) -> AsyncGenerator[_Trace, None]:
    scoring = Scoring(ready, source, span, memory_of(ready.agent, Path(), ""))
    try:
        async with course(brokers, span) as way:
            yield _Trace(scoring, way, told)
    finally:
        scoring.close()
