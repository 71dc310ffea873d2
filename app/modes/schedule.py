"""The scheduler: enters what is due, claims it, runs it, retries it. As many may run as you like, anywhere.

The clock that says what is due is a parameter. A run is known by its job and the time it was due, which is its as-of time: so
it is planned once and done once, by whichever scheduler, and one whose worker was killed is taken over.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile

from sqlalchemy import Engine

from app.clock import utc_now
from app.errors import ArtifactError, ConfigurationError, MillraceError, ServiceUnavailable
from app.jobs.cron import Cron, cron
from app.jobs.job import CatchUp, Job
from app.modes.scheduling.job_run import JobRun, Progress
from app.registry import Registry
from app.sql.runs import Overtaken, Run, Runs

log = logging.getLogger(__name__)

GRACE = timedelta(minutes=2)
"""What was due longer ago than this was missed; twice the time between two looks at the longest, and some more."""

LOOK_EVERY = timedelta(seconds=30)
"""How often to look for what other schedulers have left, at the least."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
"""Before a failed run is tried again: four times as long each time, less up to half by chance."""

_AT_ONCE = 1000  # due times entered in one transaction


def quiet(_reached: int, _total: int) -> None:
    """No progress bar."""


class Stopped(BaseException):
    """The scheduler is to end: no failure of the run, which is given back."""


@dataclass
class Scheduler:
    """Everything a scheduler needs, passed in once.

    Attributes:
        clock: says what is due, and when a failed run is tried again; a test moves it. Leases run on real time.
        rng: of the pauses.
    """

    jobs: Sequence[Job]
    runs: Runs
    source: Engine
    registry: Registry
    clock: Callable[[], datetime] = utc_now
    rng: random.Random = field(default_factory=random.Random)

    def tick(self) -> list[Run]:
        """Enter what has come due and run all that waits, job after job; the runs as they ended."""
        return list(self._each(quiet))

    def _each(self, progress: Progress) -> Iterator[Run]:
        for job in self.jobs:
            self.enter(job)
            while claimed := self.runs.claim(job.name, self.clock(), job.retries):
                yield self.work(job, claimed, progress)

    def loop(self, stop: threading.Event, told: Callable[[Run], None]) -> None:
        """Tick until `stop` is set, within a run after the chunk in hand; `told` hears of each run that ended."""

        def unless_stopped(_reached: int, _total: int) -> None:
            if stop.is_set():
                raise Stopped

        while not stop.is_set():
            try:
                for run in self._each(unless_stopped):
                    told(run)
            except Stopped:
                return
            except ServiceUnavailable as error:  # the book itself is away; what was claimed is taken over in time
                log.warning("%s; looking again", error)
            stop.wait(self._pause().total_seconds())

    def enter(self, job: Job) -> None:
        """Enter the due times up to now; which of those that were missed are made up for, the job's policy says."""
        now, times = self.clock(), times_of(job)
        last = times.last(now)
        settled = self.runs.settled_until(job.name, now)
        while dues := list(islice(takewhile(lambda due: due <= now, times.after(settled)), _AT_ONCE)):
            wanted = [due for due in dues if now - due <= GRACE or wants(job.catch_up, due, last)]
            self.runs.plan(job.name, wanted, [due for due in dues if due not in wanted], dues[-1])
            settled = dues[-1]

    def work(self, job: Job, claimed: Run, progress: Progress = quiet) -> Run:
        """Carry out a claimed run, and record how it ended; the run as it stands then."""
        try:
            JobRun(job, claimed, self.runs, self.source, self.registry).carry_out(progress)
        except Overtaken:
            log.warning("%s as of %s was taken over by another worker", job.name, claimed.as_of)
        except Exception as error:
            self._failed(job, claimed, error)
        except BaseException:  # stopped, not failed
            with suppress(Overtaken):
                self.runs.release(claimed)
            raise
        return self.runs.get(job.name, claimed.as_of) or claimed

    def _failed(self, job: Job, claimed: Run, error: Exception) -> None:
        """What is wrong in a setting or an artifact heals by hand only."""
        hopeless = isinstance(error, ConfigurationError | ArtifactError) or claimed.tries > job.retries
        retry_at = None if hopeless else self.clock() + pause(claimed.tries, self.rng)
        if not isinstance(error, MillraceError):  # a fault of ours, or of the job's
            log.error("%s as of %s failed", job.name, claimed.as_of, exc_info=error)
        with suppress(Overtaken):
            self.runs.fail(claimed, str(error) or type(error).__name__, retry_at)

    def _pause(self) -> timedelta:
        at = self.clock()
        soonest = min((next(times_of(job).after(at)) - at for job in self.jobs), default=LOOK_EVERY)
        return min(soonest, LOOK_EVERY)


def times_of(job: Job) -> Cron:
    """When the job is due. Raises `ConfigurationError` for an expression or a zone that cannot be honoured."""
    return cron(job.cron, job.zone)


def wants(policy: CatchUp, missed: datetime, last: datetime) -> bool:
    """Whether a run that was missed is made up for; `last` is the latest due time there is."""
    return policy == "all" or (policy == "latest" and missed == last)


def pause(tries: int, rng: random.Random) -> timedelta:
    """Before the next try, after so many: 15 to 30 s, 1 to 2 min, 4 to 8 min, ... at most an hour.

    Example:
        >>> pause(1, random.Random(0)) < pause(2, random.Random(0)) < pause(3, random.Random(0))
        True
    """
    longest = min(FIRST_PAUSE * 4 ** min(tries - 1, 10), LONGEST_PAUSE)  # a timedelta overflows soon
    return timedelta(seconds=longest.total_seconds() * rng.uniform(0.5, 1))
