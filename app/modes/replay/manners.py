"""How a replay keeps out of the way of whatever is live. Between the command and the worker."""

import os
import sys
import time
from collections.abc import Callable

from threadpoolctl import threadpool_limits


def be_modest(eager: bool = False) -> None:
    """Let whatever is live go first: lowest priority, unless `eager`; one thread for numeric libraries.

    A process at nice 19 gets a seventieth of a core for which one at 0 asks as well (sched(7): weights 15 and 1,024), but may
    keep it for some milliseconds when the other wakes; an idle one, where there are such, hands it over at once.
    """
    if not eager:
        os.nice(19)
        if sys.platform == "linux":
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    threadpool_limits(1)


class Pace:
    """Keeps the mean rate of records at or under a limit, from the first one on."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock, self._due = rate, clock, clock()

    def wait_s(self, records: int) -> float:
        """How long to wait before so many more."""
        if self._rate is None:
            return 0.0
        now = self._clock()
        due, self._due = max(self._due, now), max(self._due, now) + records / self._rate
        return due - now
