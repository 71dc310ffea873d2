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
        unread: whether there is anything on a partition that is not joined yet, `None` before the first fetch from it.
    """

    def __init__(self, unread: Callable[[int], bool | None]) -> None:
        self._unread = unread
        self._read: dict[int, datetime] = {}

    def read(self, partition: int, timestamp_ms: int) -> None:
        """What is joined now was written at `timestamp_ms`."""
        self._read[partition] = datetime.fromtimestamp(timestamp_ms / 1000, UTC)

    def forget(self) -> None:
        """The assignment is over."""
        self._read.clear()

    def reached(self, partition: int, now: datetime) -> datetime:
        """The time up to which the partition's answers have been read; `now` when there are no others."""
        if self._unread(partition) is False:
            return now
        patience = now - PATIENCE
        return max(min(self._read.get(partition, patience), now), patience)
