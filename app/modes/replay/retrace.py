"""Checks what was said live on a state that mixes topics: by coming to where it stood each time, and saying it again.

Beside `app.modes.replay.verify`. Kafka keeps no order between topics, so each record of predictions says which offsets the
state had come to (`app.modes.state.STANDS`). What lies between two of them may be folded in any order, for a state that mixes
topics must not depend on it (`app.agent.agent`).
"""

from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.codec import SOURCE, Decoder, Record, header
from app.modes.read import reader
from app.modes.replay.comparing import NOTHING, Place, Table, Tabling, Verified, compare, digest_of, tables
from app.modes.replay.plan import Span
from app.modes.replay.score import Scoring, memory_of
from app.modes.replay.sources import Source
from app.modes.replay.verify import Told
from app.modes.state import Offsets, stands
from app.modes.stream import Ready
from app.predictions import Prediction, PredictionBatch
from app.topics import predictions_of

_decoder: Decoder[Prediction | PredictionBatch] = Decoder(Prediction | PredictionBatch)
_offset = attrgetter("offset")


class Batch(NamedTuple):
    """Predictions that were said in one go.

    Attributes:
        place: where the records they answer lie.
        before, after: where the state stood, on every partition it is a fold over.
    """

    place: Place
    said: Table
    before: Mapping[Place, int]

    @property
    def after(self) -> Mapping[Place, int]:
        return {**self.before, self.place: int(self.said.offsets[-1]) + 1}


async def retrace(ready: Ready, source: Source, brokers: str, told: Told = lambda _: None) -> Verified:
    """Compare all that was said of the range. Raises `ServiceUnavailable`."""
    found = Verified(ready.agent.name, ready.version)
    for span in await source.spans(ready.agent):
        said = _Said(found, source, span)
        async for record, message in _predictions(ready, brokers, span.parts[0].partition):
            said.add(message, stands(record.headers))
        for number, chain in enumerate(chains(said.batches) or [[]]):
            async with _tracing(ready, source, span, brokers, told) as trace:
                for batch in chain:
                    compare(found, batch.place, batch.said, await trace.say(batch))
                if number == 0:  # all there is passes here, what was never answered too
                    await trace.bring({Place(part.topic, part.partition): part.end for part in span.parts})
                    found.unsaid += sum(said.missing(place, offsets) for place, offsets in trace.answered.items())
    return found


def chains(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Each batch once, in chains along which the state only moves forward: to go back is to begin anew.

    A worker that was killed had said what its successor, whose state stands at the last commit, says again. So there is one
    chain for all, and a second one for what was said twice.
    """
    found: list[list[Batch]] = []
    for batch in batches:
        for chain in found:
            after = chain[-1].after
            if all(after[place] <= offset for place, offset in batch.before.items()):
                chain.append(batch)
                break
        else:
            found.append([batch])
    return found


class _Said:
    """What was said of one span.

    Attributes:
        batches: of the version in question, those that can be said again, in the order in which they lie.
    """

    def __init__(self, found: Verified, source: Source, span: Span) -> None:
        self._found, self._within = found, source.within
        self._ranges = {Place(part.topic, part.partition): (part.start, part.end) for part in span.parts}
        self._offsets: dict[Place, list[NDArray[np.int64]]] = {place: [] for place in self._ranges}
        self.batches: list[Batch] = []

    def add(self, message: Prediction | PredictionBatch, stood: Offsets | None) -> None:
        """Take in one record of predictions, as far as it is of the range; `stood` as it says itself."""
        place, tabling = Place(message.topic, message.partition), Tabling()
        start, end = self._ranges.get(place, (0, 0))
        within = self._within
        for each in [message] if isinstance(message, Prediction) else message.rows():
            if start <= each.offset < end and (within is None or within(each.event_at)):
                tabling.add(each.offset, each.value, digest_of(each))
        said = tabling.sorted()
        if not len(said.offsets):
            return
        self._offsets[place].append(said.offsets)
        if message.version != self._found.version:
            self._found.others[message.version] += len(said.offsets)
        elif stood is None:
            self._found.unplaced += len(said.offsets)
        else:
            stood_at = {Place(*where): offset for where, offset in stood.items()}
            before = {each: stood_at.get(each, 0) for each in self._ranges}
            self.batches.append(Batch(place, said, {**before, place: int(said.offsets[0])}))

    def missing(self, place: Place, answered: Sequence[int]) -> int:
        """How many of these were never said, by any version."""
        said = self._offsets[place]
        return int((~np.isin(np.array(answered, np.int64), np.concatenate(said))).sum()) if said else len(answered)


async def _predictions(
    ready: Ready, brokers: str, partition: int
) -> AsyncIterator[tuple[Record, Prediction | PredictionBatch]]:
    """What the agent said live, in order; `partition` is that of its events, too."""
    topic, by = predictions_of(ready.agent.consumes[0].kind).name, f"{SOURCE}/agents/{ready.agent.name}"
    async with reader(brokers, topic, partition) as source:
        async for records in source.records(*await source.bounds()):
            mine = [record for record in records if header(record.headers, "ce_source") == by]
            messages, _ = _decoder.decode_batch(mine)
            for record, message in zip(mine, messages, strict=True):
                if message is not None:
                    yield record, message


class _Trace:
    """A state on its way through a span, from the beginning of the log.

    Attributes:
        answered: the offsets of the range that have an answer now.
    """

    def __init__(self, scoring: Scoring, cursors: Mapping[Place, "_Cursor"], told: Told) -> None:
        self._scoring, self._cursors, self._told = scoring, cursors, told
        self.answered: dict[Place, list[int]] = {place: [] for place in cursors}

    async def say(self, batch: Batch) -> Table:
        """What is said now, where the state stands as it stood then."""
        await self.bring(batch.before)
        return await self._bring(batch.place, batch.after[batch.place])

    async def bring(self, offsets: Mapping[Place, int]) -> None:
        for place, end in offsets.items():
            await self._bring(place, end)

    async def _bring(self, place: Place, end: int) -> Table:
        """Fold what lies before `end`: the answers to it."""
        answers = []
        async for records in self._cursors[place].upto(end):
            found = tables(await self._scoring.answers(records)).get(place, NOTHING)
            self.answered[place] += found.offsets.tolist()
            answers.append(found)
            self._told(len(records))
        return Table(*map(np.concatenate, zip(*answers, strict=True))) if answers else NOTHING


@asynccontextmanager
async def _tracing(ready: Ready, source: Source, span: Span, brokers: str, told: Told) -> AsyncGenerator[_Trace, None]:
    scoring = Scoring(ready, source, span, memory_of(ready.agent, Path(), ""))
    async with AsyncExitStack() as stack:
        stack.callback(scoring.close)
        cursors = {}
        for part in span.parts:
            partition = await stack.enter_async_context(reader(brokers, part.topic, part.partition))
            (
                _,
                end,
            ) = await partition.bounds()  # behind the span's: what live has heard since may count for its last rows
            cursors[Place(part.topic, part.partition)] = _Cursor(partition.records(part.first, end))
        yield _Trace(scoring, cursors, told)


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
