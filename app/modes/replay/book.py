"""The book of a replay: who works on which lane, and how far each has come, written down with what came out of it.

A lane is a part of the range that one worker at a time goes through in order. It is held by a lease; every batch is
entered in the transaction that keeps its output, and only by whoever still holds the lane, so that neither a worker that
was killed nor one that was taken for dead leaves anything out or twice.
"""

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import psutil
from sqlalchemy import Connection, Row, and_, func, or_, select, update

from app.clock import utc_now
from app.errors import ConfigurationError, MillraceError
from app.modes.replay.plan import Chosen, Plan, Span
from app.sql.replay_schema import lanes, runs
from app.sql.replays import Replays

LEASE = timedelta(minutes=5)
"""A worker of another machine that has entered nothing for so long has lost its lane. A batch takes a second, but a replay
yields to whoever else wants the processor. One that died on this machine is known to be dead at once."""

_plans = msgspec.json.Decoder(Plan)
_spans = msgspec.json.Decoder(Span)


class LaneLost(MillraceError):
    """Somebody else goes on with this lane; what was not entered yet is theirs to do."""


class Cut(NamedTuple):
    """A lane to be: who reads what."""

    chosen: Chosen
    unit: str
    span: Span


@dataclass(frozen=True)
class Lane:
    """A lane in hand.

    Attributes:
        position: how much of the span is done, in offsets from its beginning.
        state: of a stateful agent, at `position`.
        taken_up: somebody had it in hand before and did not finish.
    """

    lane: int
    run: str
    chosen: Chosen
    span: Span
    position: int
    state: bytes | None
    taken_up: bool


class Advance(NamedTuple):
    """What a batch adds to its lane."""

    position: int
    predicted: int
    failed: int
    state: bytes | None = None


class Standing(NamedTuple):
    """How far a run has come.

    Attributes:
        lanes: how many are not finished.
    """

    size: int
    passed: int
    predicted: int
    failed: int
    finished: bool
    workers: int
    lanes: int


class Book:
    """The lanes of one run, as one worker sees them."""

    def __init__(self, replays: Replays, run: str, clock: Callable[[], datetime] = utc_now) -> None:
        self.replays, self.run, self._clock = replays, run, clock
        self.owner = _owner()

    def plan(self) -> Plan | None:
        """What the run is to do; `None` where there is no such run."""
        with self.replays.connected() as connection:
            found = connection.scalar(select(runs.c.plan).where(runs.c.run == self.run))
        return None if found is None else _plans.decode(found)

    def begin(self, plan: Plan, cuts: Sequence[Cut]) -> None:
        """Write the run down. Raises `ConfigurationError` when there is one of this name."""
        with self.replays.transaction() as connection:
            if connection.scalar(select(runs.c.run).where(runs.c.run == self.run)) is not None:
                raise ConfigurationError(f"there is a run {self.run} already: continue it with --run {self.run} alone")
            encoded = msgspec.json.encode(plan)
            connection.execute(runs.insert(), {"run": self.run, "plan": encoded, "began_at": self._clock()})
            rows = [self._row(number, cut) for number, cut in enumerate(cuts)]
            if rows:
                connection.execute(lanes.insert(), rows)

    def claim(self) -> Lane | None:
        """A lane nobody works on, now this worker's; `None` when there is none at the moment."""
        now = self._clock()
        with self.replays.connected() as connection:
            unfinished = and_(lanes.c.run == self.run, ~lanes.c.finished)
            rows = connection.execute(select(lanes).where(unfinished).order_by(lanes.c.number)).all()
        for row in rows:
            free = row.owner is None or row.lease_until < now or is_dead(row.owner)
            if free and self._take(row, now):
                return _lane(row)
        return None

    @contextmanager
    def entering(self, lane: Lane, advance: Advance) -> Iterator[Connection]:
        """A transaction that moves the lane forward; what is written in it is kept with that, or not at all.

        Raises `LaneLost` when the lane is not this worker's any more.
        """
        with self.replays.transaction() as connection:
            moved = (
                update(lanes)
                .where(lanes.c.lane == lane.lane, lanes.c.owner == self.owner)
                .values(
                    position=advance.position,
                    state=advance.state,
                    predicted=lanes.c.predicted + advance.predicted,
                    failed=lanes.c.failed + advance.failed,
                    finished=advance.position >= lane.span.size,
                    lease_until=self._clock() + LEASE,
                )
            )
            # First, for it takes SQLite's only write lock: no row is written in vain.
            if connection.execute(moved).rowcount != 1:
                raise LaneLost(f"lane {lane.lane} of run {self.run} was taken over by another worker")
            yield connection

    def release(self, lane: Lane) -> None:
        """Let another worker have the lane at once."""
        mine = and_(lanes.c.lane == lane.lane, lanes.c.owner == self.owner)
        with self.replays.transaction() as connection:
            connection.execute(update(lanes).where(mine).values(owner=None, lease_until=None))

    def standing(self) -> Standing:
        """How far the run has come, all workers together."""
        summed = [func.coalesce(func.sum(lanes.c[name]), 0) for name in ("size", "position", "predicted", "failed")]
        mine = lanes.c.run == self.run
        with self.replays.connected() as connection:
            size, passed, predicted, failed = connection.execute(select(*summed).where(mine)).one()
            unfinished = connection.scalars(select(lanes.c.owner).where(mine, ~lanes.c.finished)).all()
        at_work = {owner for owner in unfinished if owner is not None}
        totals = int(size), int(passed), int(predicted), int(failed)
        return Standing(*totals, not unfinished, len(at_work), len(unfinished))

    def finish(self) -> None:
        """Note when the run came to its end; the first to say so is believed."""
        unfinished = select(lanes.c.lane).where(lanes.c.run == self.run, ~lanes.c.finished).exists()
        with self.replays.transaction() as connection:
            over = and_(runs.c.run == self.run, runs.c.finished_at.is_(None), ~unfinished)
            connection.execute(update(runs).where(over).values(finished_at=self._clock()))

    def _take(self, row: Row[Any], now: datetime) -> bool:
        """Whether this worker was the first to take the lane as it was found."""
        found = and_(lanes.c.lane == row.lane, ~lanes.c.finished, lanes.c.takes == row.takes)
        still = or_(lanes.c.owner.is_(None), lanes.c.owner == row.owner)
        taken = {"owner": self.owner, "lease_until": now + LEASE, "takes": row.takes + 1}
        with self.replays.transaction() as connection:
            return connection.execute(update(lanes).where(found, still).values(taken)).rowcount == 1

    def _row(self, number: int, cut: Cut) -> dict[str, Any]:
        return {
            "run": self.run,
            "number": number,
            "model": cut.chosen.agent,
            "version": cut.chosen.version,
            "unit": cut.unit,
            "span": msgspec.json.encode(cut.span),
            "size": cut.span.size,
            "position": 0,
            "predicted": 0,
            "failed": 0,
            "finished": cut.span.size == 0,
            "takes": 0,
        }


def unfinished(replays: Replays) -> str | None:
    """The name of the latest run that has not come to its end."""
    latest = select(runs.c.run).where(runs.c.finished_at.is_(None)).order_by(runs.c.began_at.desc()).limit(1)
    with replays.connected() as connection:
        return connection.scalar(latest)


def _lane(row: Row[Any]) -> Lane:
    chosen, span = Chosen(row.model, row.version), _spans.decode(row.span)
    return Lane(row.lane, row.run, chosen, span, row.position, row.state, row.takes > 0)


def _owner() -> str:
    """Who this worker is: machine, process, since when, and something nobody else has."""
    process = psutil.Process()
    return f"{socket.gethostname()}/{process.pid}/{process.create_time():.2f}/{uuid.uuid4().hex[:8]}"


def is_dead(owner: str) -> bool:
    """Whether a worker of this machine has ended without a word, so that its lease need not be waited for."""
    host, pid, since, _ = owner.rsplit("/", 3)
    if host != socket.gethostname() or int(pid) == os.getpid():
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(since)) > 1
    except psutil.Error:
        return True
