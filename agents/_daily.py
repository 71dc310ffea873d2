"""Daily totals by id: what a card did, or what is known of a terminal, on each of its latest days, as arrays.

The memory behind `agents._cards`. Folding is commutative: whole numbers are added to the bucket of their own day, so the
same entries leave the same totals in whatever order and in batches of whatever size they come.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

UNKNOWN = -1
"""The row of an id that has none."""

_NEVER = -(1 << 24)
"""The day of a bucket that was never used: long before `date.min`, which is day 1."""

_FIRST_ROWS = 1024


class Daily:
    """A ring of `days` buckets per id; each bucket knows its day, a count and a sum.

    Day d has bucket d modulo `days`, and the latest day that claimed a bucket keeps it: an entry is lost only if its own
    id has one that is later by a multiple of `days`. An entry dated in the far future costs its id one day of memory.

    Args:
        days: buckets per id.
        capacity: ids remembered; when more come, the quarter whose latest day is the longest ago is forgotten.
    """

    def __init__(self, days: int, capacity: int) -> None:
        self._days, self._capacity = days, capacity
        self._rows: dict[str, int] = {}
        self._day = np.full((0, days), _NEVER, np.int32)
        self._total = np.zeros((0, days, 2), np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, ids: Sequence[str]) -> Ints:
        """The row of each id, (n,); `UNKNOWN` where it has none. Rows hold until the next `take_in`."""
        known = self._rows.get
        return np.fromiter([known(one, UNKNOWN) for one in ids], np.int64, len(ids))

    def take_in(self, ids: Sequence[str]) -> Ints:
        """The row of each id, (n,); one that has none is given one."""
        rows = self.find(ids)
        if (rows == UNKNOWN).any():
            new = dict.fromkeys(one for one in ids if one not in self._rows)
            if len(self._rows) + len(new) > self._capacity:
                self._forget(frozenset(ids))
            self._rows.update(zip(new, range(len(self._rows), len(self._rows) + len(new)), strict=True))
            self._reserve(len(self._rows))
            rows = self.find(ids)
        return rows

    def add(self, rows: Ints, day: Ints, totals: Ints) -> None:
        """Add (m, 2) counts and sums to the buckets of these rows and days; no bucket may be named twice."""
        place = day % self._days
        holder = self._day[rows, place]
        if (holder != day).any():
            newer = holder < day
            self._day[rows[newer], place[newer]] = day[newer]
            self._total[rows[newer], place[newer]] = 0
            kept = holder <= day
            rows, place, totals = rows[kept], place[kept], totals[kept]
        self._total[rows, place] += totals

    def takes(self, rows: Ints, day: Ints) -> NDArray[np.bool_]:
        """Whether an entry of that row and day would be counted, (m,): not when a later day has its bucket."""
        return np.asarray(self._day[rows, day % self._days] <= day, np.bool_)

    def windows(self, rows: Ints, day: Ints, lengths: Sequence[int]) -> Ints:
        """(m, len(lengths), 2): counts and sums over the `length` days that end with `day`, that one included."""
        age, total = day[:, None] - self._day[rows], self._total[rows]
        sums = np.empty((len(rows), len(lengths), 2), np.int64)
        for place, length in enumerate(lengths):
            inside = (age >= 0) & (age < length)
            np.einsum("ij,ijk->ik", inside, total, out=sums[:, place])
        return sums

    def dump(self) -> bytes:
        """How many ids and how long their names are together, the names one per line, days and totals, byte by byte.

        `app.events.Id` holds no newline. All first bytes come first, then all second ones: most are zero, and a
        compressor makes a tenth of them where it would make a third.
        """
        used, names = len(self._rows), "\n".join(self._rows).encode()
        sizes = np.array([used, len(names)], "<i8").tobytes()
        return b"".join([sizes, names, _planes(self._day[:used], "<i4"), _planes(self._total[:used], "<i8")])

    @classmethod
    def restore(cls, days: int, capacity: int, snapshot: bytes) -> tuple[Self, bytes]:
        """What was dumped, in a table of the same shape, and what follows it in the snapshot."""
        table = cls(days, capacity)
        used, length = np.frombuffer(snapshot[:16], "<i8").tolist()
        names, rest = snapshot[16 : 16 + length].decode(), snapshot[16 + length :]
        if used:
            table._rows = {name: row for row, name in enumerate(names.split("\n"))}
        dated, rest = _whole(rest, "<i4", (used, days))
        table._day = dated.astype(np.int32)
        totals, rest = _whole(rest, "<i8", (used, days, 2))
        table._total = totals.astype(np.int64)
        return table, rest

    def _reserve(self, used: int) -> None:
        if used > len(self._day):
            spare = max(used, 2 * len(self._day), _FIRST_ROWS) - len(self._day)
            self._day = np.concatenate([self._day, np.full((spare, self._days), _NEVER, np.int32)])
            self._total = np.concatenate([self._total, np.zeros((spare, self._days, 2), np.int64)])

    def _forget(self, wanted: frozenset[str]) -> None:
        """Forget the quarter that was silent longest, by each one's latest day; those that are `wanted` now stay."""
        latest = self._day[: len(self._rows)].max(axis=1)
        silent = set(np.argsort(latest, kind="stable")[: -(-self._capacity // 4)].tolist())
        kept = {name: row for name, row in self._rows.items() if row not in silent or name in wanted}
        rows = np.fromiter(kept.values(), np.int64, len(kept))
        self._day, self._total = self._day[rows], self._total[rows]
        self._rows = {name: row for row, name in enumerate(kept)}


def _planes(array: NDArray[np.integer], kind: str) -> bytes:
    """The bytes of an array: of all numbers the first, then of all the second..."""
    width = np.dtype(kind).itemsize
    return np.ascontiguousarray(array, kind).reshape(-1).view(np.uint8).reshape(-1, width).T.tobytes()


def _whole(planes: bytes, kind: str, shape: tuple[int, ...]) -> tuple[NDArray[np.integer], bytes]:
    """An array of this shape from its planes, and what follows them."""
    width = np.dtype(kind).itemsize
    size = int(np.prod(shape)) * width
    numbers = np.frombuffer(planes[:size], np.uint8).reshape(width, -1).T
    return np.ascontiguousarray(numbers).reshape(-1).view(kind).reshape(shape), planes[size:]
