"""What-if reports: a run's answers, joined to the decisions, live answers and outcomes of then, and kept as rows.

The policy belongs to `decision`, which this package does not know: it is passed in, as is what is known (`app.modes.replay.known`).
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, select

from app.clock import utc_now
from app.modes.replay.known import Known
from app.predictions import Detail
from app.sql.replay_schema import lanes, replayed, whatif, whatif_actions, whatif_errors, whatif_flips
from app.sql.replays import Replays
from app.sql.upserts import inserting
from app.sql.whatif import Flip, Judge, Replayed, Report

_PIECE = 1000  # rows that are looked up at once: far below SQLite's 32,766 and PostgreSQL's 65,535 parameters
_details = msgspec.json.Decoder(Detail)
_TABLES = (whatif, whatif_actions, whatif_errors, whatif_flips)


def make_report(replays: Replays, known: Known, run: str, model: str, judge: Judge, zone: tzinfo) -> Report | None:
    """Compute the report of one agent of a run and keep it, in place of an earlier one; `None` where the range was empty.

    An event that was logged twice was answered twice, and counts twice.
    """
    with replays.connected() as connection:
        of = select(lanes.c.version, lanes.c.unit, func.sum(lanes.c.failed).label("failed"))
        of = of.where(lanes.c.run == run, lanes.c.model == model).group_by(lanes.c.version, lanes.c.unit)
        found = connection.execute(of).one_or_none()
    if found is None:
        return None
    report = Report(model, found.version, found.unit, judge, zone)
    with replays.transaction() as connection:
        for table in _TABLES:
            connection.execute(delete(table).where(table.c.run == run, table.c.model == model))
    for rows in _pieces(replays, run, model):
        then = known(rows)
        flips = [flip for row in rows if (flip := report.add(row, then(row))) is not None]
        if flips:
            with replays.transaction() as connection:
                _keep_flips(connection, run, model, flips)
    with replays.transaction() as connection:
        _keep(connection, run, report, int(found.failed or 0), utc_now())
    return report


def read_report(replays: Replays, run: str, model: str, flips: int = 1000) -> dict[str, Any] | None:
    """A report as it is kept, JSON-encodable: the columns of `whatif`, and `actions`, `errors`, `flips` as lists of rows.

    Of the flips the first in event time, at most so many. `None` where there is no such report.
    """
    with replays.connected() as connection:
        head = connection.execute(select(whatif).where(whatif.c.run == run, whatif.c.model == model)).first()
        if head is None:
            return None
        rows = {"actions": whatif_actions, "errors": whatif_errors, "flips": whatif_flips}
        listed = {}
        for name, table in rows.items():
            query = select(table).where(table.c.run == run, table.c.model == model)
            query = query.order_by(table.c.at_us).limit(flips) if table is whatif_flips else query
            listed[name] = [_plain(row) for row in connection.execute(query)]
    return {"run": run, "model": model, **_plain(head), **listed}


def _plain(row: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._asdict().items() if name not in ("run", "model")}


def _pieces(replays: Replays, run: str, model: str) -> Iterator[list[Replayed]]:
    """A run's answers, lane by lane; none is held but one piece."""
    columns = [replayed.c[name] for name in Replayed._fields]
    with replays.connected() as connection:
        of = select(lanes.c.lane).where(lanes.c.run == run, lanes.c.model == model).order_by(lanes.c.number)
        for lane in connection.scalars(of).all():
            mine = select(*columns).where(replayed.c.lane == lane)
            query = mine.order_by(replayed.c.input, replayed.c.partition, replayed.c.offset)
            streamed = connection.execution_options(stream_results=True, yield_per=_PIECE)
            for rows in streamed.execute(query).partitions():
                yield [_row(row) for row in rows]


def _row(row: Row[Any]) -> Replayed:
    return Replayed._make((*row[:-1], _details.decode(row.detail) if row.detail else None))


def _keep_flips(connection: Connection, run: str, model: str, flips: Sequence[Flip]) -> None:
    """Once per event, however often it was logged."""
    rows = [
        {
            "run": run,
            "model": model,
            "user_id": flip.of.user_id,
            "event_id": flip.of.event_id,
            "subject_id": flip.of.subject_id,
            "at_us": flip.of.at_us,
            "was": flip.was,
            "would_be": flip.would_be,
            "value_then": flip.value_then,
            "value_now": flip.of.value,
        }
        for flip in flips
    ]
    connection.execute(inserting(connection.dialect)(whatif_flips).on_conflict_do_nothing(), rows)


def _keep(connection: Connection, run: str, report: Report, failed: int, at: datetime) -> None:
    common = {"run": run, "model": report.model}
    errors = [
        {
            **common,
            **key._asdict(),
            "loss": "squared" if loss.squared else "absolute",
            "n": loss.n,
            "now": loss.now,
            "rmse": loss.rmse,
            "pairs": loss.pairs,
            "then": loss.then,
            "change": change.mean if (change := loss.change) else None,
            "low": change.low if change else None,
            "high": change.high if change else None,
        }
        for key, loss in report.errors.items()
    ]
    actions = [
        {
            **common,
            "was": was,
            "would_be": would_be,
            "n": spread.n,
            "mean": spread.total / spread.n,
            "least": spread.least,
            "most": spread.most,
        }
        for (was, would_be), spread in report.actions.items()
    ]
    for table, rows in ((whatif_errors, errors), (whatif_actions, actions)):
        if rows:
            connection.execute(table.insert(), rows)
    head = {name: getattr(report, name) for name in _COUNTS}
    times = {"first_at": _instant(report.first_us), "last_at": _instant(report.last_us)}
    connection.execute(whatif.insert(), {**common, **head, **times, "made_at": at, "failed": failed})


_COUNTS = ("version", "unit", "predicted", "answered", "decided", "flipped", "drifted")


def _instant(at_us: int | None) -> datetime | None:
    return None if at_us is None else datetime.fromtimestamp(at_us / 1e6, UTC)
