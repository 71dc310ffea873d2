"""How far the topic `predictions` has been read, as a clock (a watermark): a deadline must not pass over answers unread there.

Without it, a worker that comes back after a minute would declare missing what was answered long ago. Pure: it is told
what was read, and asks how far the topic goes.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

PATIENCE = timedelta(seconds=30)
"""A deadline is held back no longer than this: a topic that is never read to its end must not stop decisions."""


class Reading:
    """One clock per partition.

    Args:
        end: the offset after the last record of a partition, `None` before the first fetch from it.
    """

    def __init__(self, end: Callable[[int], int | None]) -> None:
        self._end = end
        self._read: dict[int, tuple[int, datetime]] = {}

    def read(self, partition: int, next_offset: int, timestamp_ms: int) -> None:
        """All before `next_offset` is joined; the last of it was written at `timestamp_ms`."""
        self._read[partition] = (next_offset, datetime.fromtimestamp(timestamp_ms / 1000, UTC))

    def forget(self) -> None:
        """The assignment is over."""
        self._read.clear()

    def reached(self, partition: int, now: datetime) -> datetime:
        """The time up to which the partition's answers have been read; `now` when there are no others."""
        end = self._end(partition)
        if end is None:
            return now - PATIENCE
        if partition not in self._read:
            return now
        next_offset, written = self._read[partition]
        return now if next_offset >= end else max(min(written, now), now - PATIENCE)
