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
        self._count = np.zeros((0, days), np.int64)
        self._sum = np.zeros((0, days), np.int64)

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

    def add(self, rows: Ints, day: Ints, counts: Ints, sums: Ints) -> None:
        """Add to the buckets of these rows and days, (m,) each; no bucket may be named twice."""
        place = day % self._days
        holder = self._day[rows, place]
        if (holder != day).any():
            newer = holder < day
            fresh = rows[newer], place[newer]
            self._day[fresh], self._count[fresh], self._sum[fresh] = day[newer], 0, 0
            kept = holder <= day
            rows, place, counts, sums = rows[kept], place[kept], counts[kept], sums[kept]
        self._count[rows, place] += counts
        self._sum[rows, place] += sums

    def takes(self, rows: Ints, day: Ints) -> NDArray[np.bool_]:
        """Whether an entry of that row and day would be counted, (m,): not when a later day has its bucket."""
        return np.asarray(self._day[rows, day % self._days] <= day, np.bool_)

    def windows(self, rows: Ints, day: Ints, lengths: Sequence[int]) -> tuple[Ints, Ints]:
        """Counts and sums, (m, len(lengths)) each, over the `length` days that end with `day`, that one included."""
        # Below zero, which is after `day`, an age becomes more than any length: one comparison does for both ends.
        age = (day[:, None].astype(np.int32) - self._day[rows]).view(np.uint32)
        count, total = self._count[rows], self._sum[rows]
        counts, sums = np.empty((2, len(rows), len(lengths)), np.int64)
        for place, length in enumerate(lengths):
            inside = age < length
            counts[:, place] = (count * inside).sum(axis=1)
            sums[:, place] = (total * inside).sum(axis=1)
        return counts, sums

    def dump(self) -> bytes:
        """How many ids and how long their names are together, the names one per line, days and totals, byte by byte.

        In the order of the names (`app.events.Id` holds no newline), so equal totals are equal bytes, however they came
        about. Of the numbers all first bytes come first, then all second ones: most are zero, and compress to nothing.
        """
        names = sorted(self._rows)
        rows, text = self.find(names), "\n".join(names).encode()
        arrays = (self._day, "<i4"), (self._count, "<i8"), (self._sum, "<i8")
        sizes = np.array([len(names), len(text)], "<i8").tobytes()
        return b"".join([sizes, text, *(_planes(array[rows], kind) for array, kind in arrays)])

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
        counts, rest = _whole(rest, "<i8", (used, days))
        sums, rest = _whole(rest, "<i8", (used, days))
        table._count, table._sum = counts.astype(np.int64), sums.astype(np.int64)
        return table, rest

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Array by array, where the default would look at every id."""
        table = type(self)(self._days, self._capacity)
        arrays = {"_day": self._day.copy(), "_count": self._count.copy(), "_sum": self._sum.copy()}
        vars(table).update(_rows=self._rows.copy(), **arrays)
        return table

    def _reserve(self, used: int) -> None:
        if used > len(self._day):
            spare = max(used, 2 * len(self._day), _FIRST_ROWS) - len(self._day)
            self._day = np.concatenate([self._day, np.full((spare, self._days), _NEVER, np.int32)])
            none = np.zeros((spare, self._days), np.int64)
            self._count, self._sum = np.concatenate([self._count, none]), np.concatenate([self._sum, none])

    def _forget(self, wanted: frozenset[str]) -> None:
        """Forget the quarter that was silent longest, by each one's latest day; those that are `wanted` now stay."""
        latest = self._day[: len(self._rows)].max(axis=1).tolist()
        silent = sorted((latest[row], name) for name, row in self._rows.items() if name not in wanted)
        forgotten = {name for _, name in silent[: -(-self._capacity // 4)]}
        kept = {name: row for name, row in self._rows.items() if name not in forgotten}
        rows = np.fromiter(kept.values(), np.int64, len(kept))
        self._day, self._count, self._sum = self._day[rows], self._count[rows], self._sum[rows]
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
