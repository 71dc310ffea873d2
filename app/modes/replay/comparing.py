"""What was said live beside what comes out now, to the last bit. Pure.

Below `app.modes.replay.verify` and `app.modes.replay.retrace`. What was said is kept as 24 bytes a prediction.
"""

import hashlib
from array import array
from collections import Counter, defaultdict
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from app.modes.replay.astray import Astray
from app.modes.replay.plan import Place
from app.modes.replay.rows import Answers, Columns
from app.predictions import Prediction

SHOWN = 1000
"""Differences kept with their values; the others are counted."""

_encode = msgspec.json.Encoder().encode


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
        unplaced: predictions of an agent that mixes topics that do not say where its state stood; they are not checked.
        unnumbered: predictions on a state that workers share that do not say when it was told; they are compared as if it had
            been told in the order of the records' timestamps, which need not be so where there are several partitions.
        astray: records of predictions that cannot be true; they are not checked.
        others: predictions in the range by other versions -> how many; they are not checked.
    """

    agent: str
    version: str
    same: int = 0
    differing: int = 0
    unsaid: int = 0
    unplaced: int = 0
    unnumbered: int = 0
    astray: Astray = field(default_factory=Astray)
    others: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


class Tabling:
    """What was said of one partition, as it comes: offset, value and the digest of all the rest."""

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


NOTHING = Table(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.uint64))


def compare(found: Verified, place: Place, live: Table, now: Table) -> None:
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
    for row in np.flatnonzero(~same)[: SHOWN - len(found.differences)].tolist():
        value = float(values[row]) if known[row] else None
        found.differences.append(Difference(*place, int(live.offsets[row]), float(live.values[row]), value))


def unsaid(live: Table, now: Table) -> int:
    """How many answers of now were not said live."""
    return int((~np.isin(now.offsets, live.offsets)).sum())


def tables(answers: Answers) -> dict[Place, Table]:
    """What came out of a slice, by partition."""
    heard: defaultdict[Place, Tabling] = defaultdict(Tabling)
    topics, columns = list(answers.inputs), Columns()
    columns.add(answers)
    rest = zip(columns.event_id, columns.subject_id, columns.user_id, columns.stage, columns.detail, strict=True)
    rows = zip(columns.input, columns.partition, columns.offset, columns.value, rest, strict=True)
    for topic, partition, offset, value, (event_id, subject_id, user_id, stage, detail) in rows:
        digest = _digest(event_id, subject_id, user_id, stage, answers.agent.unit, detail)
        heard[Place(topics[topic], partition)].add(offset, value, digest)
    return {place: one.sorted() for place, one in heard.items()}


def digest_of(said: Prediction) -> int:
    detail = None if said.detail is None else _encode(said.detail)
    return _digest(said.event_id, said.subject_id, said.user_id, said.stage, said.unit, detail)


def _digest(event_id: str, subject_id: str, user_id: str, stage: str, unit: str, detail: bytes | None) -> int:
    words = f"{event_id}\0{subject_id}\0{user_id}\0{stage}\0{unit}\0".encode()
    return int.from_bytes(hashlib.blake2b(words + (detail or b""), digest_size=8).digest())
