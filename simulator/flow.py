"""What `flood` is told, what it tells, and the lanes it fills: one to each partition of each topic."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

import numpy as np

from simulator.record_batch import MOST, Bytes


class Count(IntEnum):
    """What a process tells of itself while it runs: places in a row of numbers others may read at any time.

    `stop` is for the others to write: draw no more.
    """

    made = 0
    delivered = 1
    reported = 2
    behind_s = 3
    retries = 4
    cpu_s = 5
    late_ticks = 6
    ticks = 7
    seconds = 8
    stop = 9


@dataclass(frozen=True)
class Flow:
    """What to send.

    Attributes:
        run: begins every id; the number of a transaction follows.
        start: event time of the beginning, a midnight in UTC.
        rate: transactions per second, of this process alone.
        days_per_s: how fast event time runs.
        seconds: how long.
        numbers: `(first, step)`: this process's transactions are numbered so.
    """

    run: str
    start: datetime
    rate: float
    days_per_s: float
    seconds: float
    numbers: tuple[int, int] = (0, 1)
    seed: int = 0

    @property
    def total(self) -> int:
        return int(self.rate * self.seconds)


@dataclass(eq=False)
class Lane:
    """One partition of one topic: what waits for it, and since when the oldest of it was due."""

    topic: str
    partition: int
    waiting: list[Bytes] = field(default_factory=list)
    due_s: float = 0.0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, rows: Bytes, due_s: float) -> None:
        if not self.waiting:
            self.due_s = due_s
        self.waiting.append(rows)
        self.wake.set()

    def take(self) -> tuple[list[Bytes], float]:
        """Everything that waits, in pieces to be sent one after the other, and when the oldest was due."""
        waiting, self.waiting = self.waiting, []
        self.wake.clear()
        pieces = [rows[at : at + MOST] for rows in _joined(waiting) for at in range(0, len(rows), MOST)]
        return pieces, self.due_s


def _joined(waiting: list[Bytes]) -> Iterator[Bytes]:
    """Neighbours of the same width as one."""
    start = 0
    for at in range(1, len(waiting) + 1):
        if at == len(waiting) or waiting[at].shape[1] != waiting[start].shape[1]:
            yield waiting[start] if at - start == 1 else np.concatenate(waiting[start:at])
            start = at
