"""The replays that were ever begun here: what each was to do, how far it has come, whether anybody is at work on it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Row, and_, func, select

from app.clock import utc_now
from app.modes.replay.book import is_dead
from app.modes.replay.plan import Plan
from app.sql.replay_schema import lanes, runs
from app.sql.replays import Replays

State = Literal["done", "running", "stopped"]

_plans = msgspec.json.Decoder(Plan)


class Past(NamedTuple):
    """A replay.

    Attributes:
        state: "stopped" where nobody works on it and something is left: it can be gone on with.
        passed, size: how many records are done, and of how many.
    """

    run: str
    state: State
    plan: Plan
    passed: int
    size: int
    predicted: int
    failed: int
    began_at: datetime
    finished_at: datetime | None

    def rate(self, now: datetime) -> float | None:
        """Records a second from its beginning to its end, or to `now`, pauses included; `None` of one that is stopped."""
        if self.state == "stopped":
            return None
        return self.passed / max(((self.finished_at or now) - self.began_at).total_seconds(), 0.001)


def past(replays: Replays, clock: Callable[[], datetime] = utc_now) -> list[Past]:
    """Every replay there is, the newest first. Raises `ServiceUnavailable`."""
    summed = {
        "passed": lanes.c.position,
        "size": lanes.c.size,
        "predicted": lanes.c.predicted,
        "failed": lanes.c.failed,
    }
    sums = [func.coalesce(func.sum(column), 0).label(name) for name, column in summed.items()]
    mine = runs.outerjoin(lanes, lanes.c.run == runs.c.run)
    query = select(runs, *sums).select_from(mine).group_by(*runs.c).order_by(runs.c.began_at.desc(), runs.c.run)
    held = and_(~lanes.c.finished, lanes.c.owner.is_not(None))
    with replays.connected() as connection:
        found = connection.execute(query).all()
        holders = connection.execute(select(lanes.c.run, lanes.c.owner, lanes.c.lease_until).where(held)).all()
    now = clock()
    at_work = {row.run for row in holders if row.lease_until >= now and not is_dead(row.owner)}
    return [_past(row, row.run in at_work) for row in found]


def _past(row: Row[Any], at_work: bool) -> Past:
    state: State = "done" if row.finished_at is not None else "running" if at_work else "stopped"
    totals = (int(row.passed), int(row.size), int(row.predicted), int(row.failed))
    return Past(row.run, state, _plans.decode(row.plan), *totals, row.began_at, row.finished_at)
