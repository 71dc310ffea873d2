"""Recompute what was said live, and find what differs: for the same version it must be nothing, to the last bit.

What was said is read first, and kept as 24 bytes a prediction: it lies in the order in which it was delivered, with repeats
after a kill, which is not the order of what it answers.
"""

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray
from sqlalchemy import select

from app.codec import SOURCE, Decoder, Record
from app.modes.read import reader
from app.modes.replay.rows import Answers, Columns
from app.modes.replay.score import Scoring, ahead, memory_of
from app.modes.replay.sources import Source, Within
from app.modes.stream import Ready
from app.predictions import Prediction
from app.sql.schema import predictions
from app.store import Store
from app.topics import PREDICTIONS

SHOWN = 1000
"""Differences kept with their values; the others are counted."""

_PIECE = 4096
_decoder: Decoder[Prediction] = Decoder(Prediction)
_encode = msgspec.json.Encoder().encode


class Place(NamedTuple):
    """A partition of an input topic."""

    topic: str
    partition: int


class Difference(Struct, frozen=True):
    """A record of which something else was said live.

    Attributes:
        value: as recomputed; `None`: it has no answer now. The same as `live` where only the detail or an id differs.
    """

    topic: str
    partition: int
    offset: int
    live: float
    value: float | None


class Verified(Struct):
    """What a check found.

    Attributes:
        same: predictions of this version, said live, that came out the same; repeats count.
        differing: how many did not; `differences` shows the first.
        unsaid: answers there are now of records that have none live: dead letters, or what is not answered yet.
        others: predictions in the range by other versions -> how many; they are not checked.
    """

    agent: str
    version: str
    same: int = 0
    differing: int = 0
    unsaid: int = 0
    others: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


class _Heard:
    """What was said of one partition: offset, value and the digest of all the rest."""

    def __init__(self) -> None:
        self._offsets, self._values, self._digests = array("q"), array("d"), array("Q")

    def add(self, offset: int, value: float, digest: int) -> None:
        self._offsets.append(offset)
        self._values.append(value)
        self._digests.append(digest)

    def sorted(self) -> "Table":
        offsets = np.frombuffer(self._offsets, np.int64)
        order = np.argsort(offsets, kind="stable")
        return Table(
            offsets[order],
            np.frombuffer(self._values, np.float64)[order],
            np.frombuffer(self._digests, np.uint64)[order],
        )


class Table(NamedTuple):
    """Answers by offset, ascending: (n,) each."""

    offsets: NDArray[np.int64]
    values: NDArray[np.float64]
    digests: NDArray[np.uint64]

    def between(self, first: int, end: int) -> "Table":
        low, high = np.searchsorted(self.offsets, [first, end])
        return Table(self.offsets[low:high], self.values[low:high], self.digests[low:high])


Said = AsyncIterator[Sequence[Prediction]]


async def said_on_topic(brokers: str, partitions: int, agent: str) -> Said:
    """Every live prediction of an agent the log still has."""
    source_of = f"{SOURCE}/agents/{agent}".encode()
    for partition in range(partitions):
        async with reader(brokers, PREDICTIONS.name, partition) as source:
            first, end = await source.bounds()
            async for records in source.records(first, end):
                # By the header, for to decode the track of every `eta` only to pass it over takes longest.
                mine = [r for r in records if dict(r.headers).get("ce_source", source_of) == source_of]
                messages, _ = _decoder.decode_batch(mine)
                yield [message for message in messages if message is not None]


async def said_in_store(store: Store, agent: str) -> Said:
    """Every live prediction of an agent the store still has."""
    with store.connected() as connection:
        query = select(predictions.c.message).where(predictions.c.model == agent)
        streamed = connection.execution_options(stream_results=True, yield_per=_PIECE)
        for messages in streamed.scalars(query).partitions():
            yield [_decoder.decode(message) for message in messages]


Told = Callable[[int], None]
"""Hears how many more records have been recomputed."""


async def verify(ready: Ready, source: Source, said: Said, private: Path, told: Told = lambda _: None) -> Verified:
    """Compare everything in the range; `private` is a directory for what workers of the agent share, see `memory_of`."""
    found = Verified(ready.agent.name, ready.version)
    spans = await source.spans(ready.agent)
    places = {Place(part.topic, part.partition) for span in spans for part in span.parts}
    tables = await _listen(found, said, places, source.within)
    for number, span in enumerate(spans):
        scoring = Scoring(ready, source, span, memory_of(ready.agent, private, f"span-{number}"))
        covered = {Place(*where): start for where, start in span.starts.items()}
        try:
            async with aclosing(ahead(source.slices(span, 0))) as slices:
                async for piece in slices:
                    now = _tables((await scoring.score(piece.records))[0])
                    for place, end in _ends(piece.records).items():
                        live = tables.get(place, _NOTHING).between(covered[place], end)
                        _compare(found, place, live, now.get(place, _NOTHING))
                        covered[place] = max(covered[place], end)
                    told(len(piece.records))
        finally:
            scoring.close()
    return found


async def _listen(found: Verified, said: Said, places: set[Place], within: Within | None) -> dict[Place, "Table"]:
    """What this version said of these partitions, and of the times asked for; what others said is counted."""
    heard: defaultdict[Place, _Heard] = defaultdict(_Heard)
    async for some in said:
        for each in some:
            place = Place(each.topic, each.partition)
            if each.model != found.agent or place not in places or (within and not within(each.event_at)):
                continue
            if each.version == found.version:
                heard[place].add(each.offset, each.value, _digest_of(each))
            else:
                found.others[each.version] += 1
    return {place: one.sorted() for place, one in heard.items()}


def _ends(records: Sequence[Record]) -> dict[Place, int]:
    """The offset behind the last record of each partition; they come in order."""
    return {Place(record.topic, record.partition): record.offset + 1 for record in records}


_NOTHING = Table(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.uint64))


def _compare(found: Verified, place: Place, live: Table, now: Table) -> None:
    """Every live answer with the one of now; a NaN was never said."""
    if len(now.offsets):
        at = np.minimum(np.searchsorted(now.offsets, live.offsets), len(now.offsets) - 1)
        known = now.offsets[at] == live.offsets
        values, digests = now.values[at], now.digests[at]
    else:
        known = np.zeros(len(live.offsets), np.bool_)
        values, digests = live.values, live.digests
    same = known & (values.view(np.int64) == live.values.view(np.int64)) & (digests == live.digests)
    found.same += int(same.sum())
    found.differing += int((~same).sum())
    found.unsaid += int((~np.isin(now.offsets, live.offsets)).sum())
    for row in np.flatnonzero(~same)[: SHOWN - len(found.differences)].tolist():
        value = float(values[row]) if known[row] else None
        found.differences.append(Difference(*place, int(live.offsets[row]), float(live.values[row]), value))


def _tables(answers: Answers) -> dict[Place, Table]:
    """What came out of a slice, by partition."""
    heard: defaultdict[Place, _Heard] = defaultdict(_Heard)
    topics, columns = list(answers.inputs), Columns.of(answers)
    rest = zip(columns.event_id, columns.subject_id, columns.user_id, columns.stage, columns.detail, strict=True)
    rows = zip(columns.input, columns.partition, columns.offset, columns.value, rest, strict=True)
    for topic, partition, offset, value, (event_id, subject_id, user_id, stage, detail) in rows:
        digest = _digest(event_id, subject_id, user_id, stage, answers.agent.unit, detail)
        heard[Place(topics[topic], partition)].add(offset, value, digest)
    return {place: one.sorted() for place, one in heard.items()}


def _digest_of(said: Prediction) -> int:
    detail = None if said.detail is None else _encode(said.detail)
    return _digest(said.event_id, said.subject_id, said.user_id, said.stage, said.unit, detail)


def _digest(event_id: str, subject_id: str, user_id: str, stage: str, unit: str, detail: bytes | None) -> int:
    words = f"{event_id}\0{subject_id}\0{user_id}\0{stage}\0{unit}\0".encode()
    return int.from_bytes(hashlib.blake2b(words + (detail or b""), digest_size=8).digest())
