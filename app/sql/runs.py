"""The book of scheduled runs: planned, claimed under a lease by one worker at a time, kept as history.

A run is known by its job and its as-of time. Whoever changes a claimed run names its attempt: a worker that was taken for
dead and comes back changes nothing. Synchronous; every method raises `ServiceUnavailable` when the database is away.
"""

import os
import socket
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, Connection, Engine, Row, Table, and_, func, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from app.clock import utc_now
from app.sql.database import Database
from app.sql.run_schema import (
    DONE,
    FAILED,
    LOST,
    RUNNING,
    SKIPPED,
    WAITING,
    attempts,
    metadata,
    runs,
    schedules,
)
from app.sql.upserts import inserting

LEASE = timedelta(seconds=60)
"""How long a run stays a silent worker's; it renews its claim three times as often."""


@dataclass(frozen=True)
class Run:
    """One row of `runs`; see `app.sql.run_schema` for the columns."""

    job: str
    as_of: datetime
    state: str
    scheduled: bool
    due_at: datetime
    attempt: int
    tries: int
    worker: str | None = None
    lease_until: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: str | None = None
    subjects: int | None = None
    reached: int | None = None
    scored: int | None = None
    problems: int | None = None
    error: str | None = None


class Skipped(NamedTuple):
    """How many runs of a job were missed and not made up for; `last`: the latest as-of time of theirs."""

    job: str
    runs: int
    last: datetime | None


class Overtaken(Exception):
    """The run is another worker's by now, or was given up: what this one has must not be kept."""


class Runs(Database):
    """The book, for readers and for one worker.

    Args:
        engine: of the predictions database.
        lease: see `LEASE`.
        wall: the clock of the leases: real time, the same for all workers but for a difference well below the lease.
    """

    tables = metadata

    def __init__(self, engine: Engine, lease: timedelta = LEASE, wall: Callable[[], datetime] = utc_now) -> None:
        super().__init__(engine)
        self.lease, self.wall = lease, wall
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._insert = inserting(engine.dialect)

    @classmethod
    def open(cls, url: str, lease: timedelta = LEASE) -> Self:
        """Connect and create what is missing. Raises `ConfigurationError` for a url or tables that are not as they must be."""
        return cls(cls._connect(url), lease)

    def get(self, job: str, as_of: datetime) -> Run | None:
        with self.connected() as connection:
            row = connection.execute(select(runs).where(_of(job, as_of))).first()
        return None if row is None else _run(row)

    def history(self, job: str | None = None, limit: int = 50) -> list[Run]:
        """The latest runs, by as-of time, newest first."""
        return self._latest(true() if job is None else runs.c.job == job, limit)

    def carried_out(self, job: str, limit: int, before: datetime | None = None) -> list[Run]:
        """The latest runs of a job that were not skipped, newest first; `before`: of which as-of times."""
        return self._latest(and_(_until(job, before), runs.c.state != SKIPPED), limit)

    def skipped(self, job: str, since: datetime | None, before: datetime | None = None) -> Skipped:
        """How many runs of a job were skipped between these as-of times, both ends excluded, and the latest of them."""
        between = and_(_until(job, before), runs.c.as_of > since if since is not None else true())
        query = select(func.count(), func.max(runs.c.as_of)).where(between, runs.c.state == SKIPPED)
        with self.connected() as connection:
            return Skipped(job, *connection.execute(query).one())

    def jobs(self) -> list[str]:
        """Those that ever had a run, by name."""
        with self.connected() as connection:
            return list(connection.scalars(select(runs.c.job).distinct().order_by(runs.c.job)))

    def attempts(self, job: str, as_of: datetime) -> list[Row[Any]]:
        """Every attempt at one run, the first one first: columns of `run_attempts`."""
        query = select(attempts).where(_of(job, as_of, attempts)).order_by(attempts.c.attempt)
        with self.connected() as connection:
            return list(connection.execute(query))

    def settled_until(self, job: str, now: datetime) -> datetime:
        """Up to when the job's due times have been planned; `now` for one that is seen for the first time."""
        put = self._insert(schedules).values(job=job, settled_until=now).on_conflict_do_nothing()
        with self.transaction() as connection:
            connection.execute(put)
            until: datetime = connection.execute(
                select(schedules.c.settled_until).where(schedules.c.job == job)
            ).scalar_one()
        return until

    def plan(self, job: str, wanted: Iterable[datetime], unwanted: Iterable[datetime], settled: datetime) -> None:
        """Enter due times: those to run and those skipped. Two schedulers may enter the same ones."""
        rows = [_planned(job, due, WAITING) for due in wanted] + [_planned(job, due, SKIPPED) for due in unwanted]
        with self.transaction() as connection:
            if rows:
                connection.execute(self._insert(runs).on_conflict_do_nothing(), rows)
            forward = and_(schedules.c.job == job, schedules.c.settled_until < settled)
            connection.execute(update(schedules).where(forward).values(settled_until=settled))

    def ask(self, job: str, as_of: datetime, *, again: bool) -> Run:
        """Enter a run by hand, unless it waits, runs or is done (`again`: even then); it, as it stands now."""
        asked = {**_planned(job, as_of, WAITING), "scheduled": False}
        idle = [FAILED, SKIPPED, WAITING, *([DONE] if again else [])]
        fresh = {"state": WAITING, "tries": 0, "due_at": as_of, "error": None}
        with self.transaction() as connection:
            connection.execute(self._insert(runs).values(**asked).on_conflict_do_nothing())
            connection.execute(update(runs).where(_of(job, as_of), runs.c.state.in_(idle)).values(**fresh))
            return _run(connection.execute(select(runs).where(_of(job, as_of))).one())

    def claim(self, job: str, now: datetime, retries: int, as_of: datetime | None = None) -> Run | None:
        """Take the oldest run of the job that is due, or whose worker is lost; `None` where there is none to have.

        Args:
            job: its name.
            now: what is due by then.
            retries: a run whose workers were lost more often than this has failed.
            as_of: this run only.
        """
        self._give_up(job, retries)
        free = and_(runs.c.job == job, or_(and_(runs.c.state == WAITING, runs.c.due_at <= now), self._lost()))
        which = free if as_of is None else and_(free, runs.c.as_of == as_of)
        with self.answering(), suppress(IntegrityError), self.engine.begin() as connection:
            found = connection.execute(select(runs).where(which).order_by(runs.c.as_of).limit(1)).first()
            return None if found is None else self._take(connection, _run(found), free)
        return None  # the database refused it: another run of this job is running

    def beat(self, run: Run, reached: int) -> None:
        """Renew the lease. Raises `Overtaken` when the run is no longer ours."""
        with self.transaction() as connection:
            self._change(connection, run, lease_until=self.wall() + self.lease, reached=reached)

    def finish(self, connection: Connection, run: Run, **counts: int) -> None:
        """Mark the run as done, within the transaction that publishes its rows. Raises `Overtaken`."""
        now = self.wall()
        self._change(connection, run, state=DONE, lease_until=None, finished_at=now, error=None, **counts)
        _end(connection, run, now, DONE)

    def describe(self, run: Run, version: str, subjects: int) -> None:
        """Which model scores it, and how many subjects there are. Raises `Overtaken`."""
        with self.transaction() as connection:
            self._change(connection, run, version=version, subjects=subjects)

    def fail(self, run: Run, error: str, retry_at: datetime | None) -> None:
        """Record a failed attempt; the run waits for `retry_at`, or has failed for good where there is none."""
        now = self.wall()
        then = {"state": FAILED, "finished_at": now} if retry_at is None else {"state": WAITING, "due_at": retry_at}
        with self.transaction() as connection:
            self._change(connection, run, lease_until=None, error=error, **then)
            _end(connection, run, now, FAILED, error)

    def release(self, run: Run) -> None:
        """Give a run back that was stopped, not failed: it waits, and the attempt does not count."""
        with self.transaction() as connection:
            self._change(connection, run, state=WAITING, lease_until=None, tries=run.tries - 1)
            _end(connection, run, self.wall(), WAITING)

    def _latest(self, which: ColumnElement[bool], limit: int) -> list[Run]:
        query = select(runs).where(which).order_by(runs.c.as_of.desc(), runs.c.job).limit(limit)
        with self.connected() as connection:
            return [_run(row) for row in connection.execute(query)]

    def _lost(self) -> ColumnElement[bool]:
        return and_(runs.c.state == RUNNING, runs.c.lease_until < self.wall())

    def _give_up(self, job: str, retries: int) -> None:
        """A run that takes its worker with it each time would do so for ever."""
        spent = and_(runs.c.job == job, self._lost(), runs.c.tries > retries)
        error = "its worker was lost, and there are no retries left"
        with self.transaction() as connection:
            for row in connection.execute(select(runs).where(spent)).all():
                gone = and_(spent, runs.c.as_of == row.as_of, runs.c.attempt == row.attempt)
                values = {"state": FAILED, "lease_until": None, "finished_at": self.wall(), "error": error}
                if connection.execute(update(runs).where(gone).values(**values)).rowcount:
                    _end(connection, _run(row), self.wall(), LOST, error)

    def _take(self, connection: Connection, found: Run, free: ColumnElement[bool]) -> Run | None:
        now = self.wall()
        taken = replace(
            found,
            state=RUNNING,
            attempt=found.attempt + 1,
            tries=found.tries + 1,
            worker=self.worker,
            lease_until=now + self.lease,
            started_at=now,
            finished_at=None,
            reached=0,
        )
        names = ("state", "attempt", "tries", "worker", "lease_until", "started_at", "finished_at", "reached")
        unchanged = and_(_of(found.job, found.as_of), runs.c.attempt == found.attempt, free)
        values = {name: getattr(taken, name) for name in names}
        if not connection.execute(update(runs).where(unchanged).values(**values)).rowcount:
            return None  # somebody was faster
        begun = self.wall()  # the run before may have ended while this one waited for the database
        _end(connection, found, begun, LOST)
        connection.execute(
            self._insert(attempts).values(
                job=taken.job,
                as_of=taken.as_of,
                attempt=taken.attempt,
                worker=self.worker,
                started_at=begun,
                outcome=RUNNING,
            )
        )
        return taken

    def _change(self, connection: Connection, run: Run, **values: object) -> None:
        ours = and_(_of(run.job, run.as_of), runs.c.attempt == run.attempt, runs.c.state == RUNNING)
        if not connection.execute(update(runs).where(ours).values(**values)).rowcount:
            raise Overtaken(f"{run.job} {run.as_of:%Y-%m-%dT%H:%M%z}, attempt {run.attempt}")


def _of(job: str, as_of: datetime, table: Table = runs) -> ColumnElement[bool]:
    return and_(table.c.job == job, table.c.as_of == as_of)


def _until(job: str, before: datetime | None) -> ColumnElement[bool]:
    return and_(runs.c.job == job, runs.c.as_of < before if before is not None else true())


def _run(row: Row[Any]) -> Run:
    return Run(**row._asdict())


def _planned(job: str, due: datetime, state: str) -> dict[str, object]:
    return {
        "job": job,
        "as_of": due,
        "state": state,
        "scheduled": True,
        "due_at": due,
        "attempt": 0,
        "tries": 0,
    }


def _end(connection: Connection, run: Run, at: datetime, outcome: str, error: str | None = None) -> None:
    """How an attempt ended, unless that is known already."""
    open_ = and_(_of(run.job, run.as_of, attempts), attempts.c.attempt == run.attempt, attempts.c.outcome == RUNNING)
    connection.execute(update(attempts).where(open_).values(ended_at=at, outcome=outcome, error=error))
