"""What the batch page reads: runs and their scores, live errors and the worth of card decisions by week, what-if reports. Synchronous.

But for the store everything is opened when it is first asked for: most gateways never are, and a job's declaration brings its model's library along.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, Table, func, select

from app.costs import Costs
from app.errors import InvalidMessage
from app.sql.card_figures import WeeklyWorth, weekly
from app.sql.engine import DATABASE
from app.sql.ledger import WeeklyError
from app.store import Store
from gateway.problems import Refused

if TYPE_CHECKING:
    from app.jobs.job import Job
    from app.sql.replays import Replays
    from app.sql.runs import Runs

RUNS, MOST_RUNS = 50, 1000
"""Of each job: two days of one that runs hourly, a year of one that runs weekly."""

LIKELIEST = 50
BINS = 20
_SAMPLE = 2000
"""Of so many subjects the contributions are averaged: they are JSON, and a standard error of 2 % is enough for a bar."""


class BatchReads:
    """Args: `database_url` is the predictions database, `store` what is open of it, `costs` the stated ones; the replays lie beside it."""

    def __init__(self, database_url: str, store: Store, costs: Costs) -> None:
        self._url, self._store, self._costs = database_url, store, costs

    def close(self) -> None:
        """Disconnect from what was opened."""
        for opened in ("_runs", "_replays"):
            if opened in self.__dict__:
                self.__dict__[opened].close()

    def runs(self, job: str | None = None, limit: int = RUNS, before: datetime | None = None) -> dict[str, Any]:
        """The latest runs of each job, newest first, so that none buries another's; of those that were skipped, how many.

        Raises `Refused` (404) for a job there is not.
        """
        from app.jobs.job import names

        known = self._runs.jobs()
        if job is not None and job not in {*known, *names()}:
            raise _unknown(f"no job {job!r}; there are: {', '.join(names())}")
        found, skipped = [], []
        for name in known if job is None else [job]:
            latest = self._runs.carried_out(name, limit, before)
            skipped.append(self._runs.skipped(name, latest[-1].as_of if len(latest) == limit else None, before))
            found += latest
        found.sort(key=lambda run: run.as_of, reverse=True)
        told = [each._asdict() for each in skipped if each.runs]
        return {"runs": [asdict(run) for run in found], "skipped": told}

    def scores(self, name: str, as_of: datetime | None, by: str | None = None) -> dict[str, Any]:
        """One run's scores at a glance; of the latest run that has any, unless `as_of` says which.

        The subjects shown are the first by the job's rank, or by their score where `by` is "value".

        Raises `Refused` (404) for a job there is not, and for a run without scores; `InvalidMessage` for another order.
        """
        job = self._job(name)
        order = by or job.rank
        if order not in (job.rank, "value"):
            raise InvalidMessage(f"expected one of {job.rank}, value", "by")
        table, *others = job.load
        with self._runs.connected() as connection:
            trend = _trend(connection, table, job.rank)
            shown = as_of or (trend[-1]["as_of"] if trend else None)
            totals = next((row for row in trend if row["as_of"] == shown), None)
            if totals is None:
                raise _unknown(f"{name} has no scores {'yet' if as_of is None else f'as of {as_of.isoformat()}'}")
            offers = next((other for other in others if "offer" in other.c), None)
            return {
                "job": name,
                "unit": job.unit,
                "rank": job.rank,
                "by": order,
                "trend": trend,
                **totals,
                "histogram": _histogram(connection, table, totals["as_of"], *_bounds(job, totals)),
                "drivers": _drivers(connection, table, totals["as_of"], job.columns),
                "offers": [] if offers is None else _offers(connection, offers, totals["as_of"]),
                "likeliest": _likeliest(connection, table, order, totals["as_of"], offers),
            }

    def errors(self) -> list[WeeklyError]:
        """How wrong each model has been live, week by week, the oldest first."""
        return self._store.weekly_errors()

    def cards(self) -> list[WeeklyWorth]:
        """What the card decisions were worth, week by week, the oldest first."""
        return weekly(self._store.weekly_charges(), self._costs)

    def reports(self) -> list[dict[str, Any]]:
        """The head of every what-if report, newest first."""
        from app.sql.replay_schema import whatif

        with self._replays.connected() as connection:
            return [row._asdict() for row in connection.execute(select(whatif).order_by(whatif.c.made_at.desc()))]

    def report(self, run: str, model: str) -> dict[str, Any]:
        """One report, as `app.modes.replay.reports.read_report` gives it. Raises `Refused` (404)."""
        from app.modes.replay.reports import read_report

        found = read_report(self._replays, run, model, flips=LIKELIEST)
        if found is None:
            raise _unknown(f"there is no what-if report of {model} in the replay {run}")
        return found

    @cached_property
    def _runs(self) -> "Runs":
        from app.sql.runs import Runs

        return Runs.open(self._url)

    @cached_property
    def _replays(self) -> "Replays":
        from app.sql.replays import Replays

        return Replays.open(self._url)

    def _job(self, name: str) -> "Job":
        from app.jobs import job as jobs
        from app.sql.tables import ensure

        if name not in jobs.names():
            raise _unknown(f"no job {name!r}; there are: {', '.join(jobs.names())}")
        job = jobs.find(name)
        for table in job.load:
            ensure(self._runs.engine, table.metadata, DATABASE)
        return job


def _unknown(what: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, what)


def _trend(connection: Connection, table: Table, rank: str) -> list[dict[str, Any]]:
    """Run by run, the oldest first: how many were scored, their mean score and the sum of what they are ranked by."""
    query = select(
        table.c.as_of,
        func.max(table.c.version).label("version"),
        func.count().label("subjects"),
        func.avg(table.c.value).label("mean"),
        func.min(table.c.value).label("least"),
        func.max(table.c.value).label("most"),
        func.sum(table.c[rank]).label("total"),
    )
    rows = connection.execute(query.group_by(table.c.as_of).order_by(table.c.as_of))
    return [row._asdict() for row in rows]


def _bounds(job: "Job", totals: dict[str, Any]) -> tuple[float, float]:
    """Between which scores the histogram lies: those the job allows, or where it names none the least and the greatest."""
    low, high = (job.low, job.high) if isfinite(job.low) and isfinite(job.high) else (totals["least"], totals["most"])
    return low, high if high > low else low + 1.0


def _histogram(
    connection: Connection, table: Table, as_of: datetime, least: float, most: float
) -> list[dict[str, float]]:
    """How many scores lie in each of equal bins."""
    width = (most - least) / BINS
    place = func.floor((table.c.value - least) / width)
    of = select(place.label("place"), func.count().label("n")).where(table.c.as_of == as_of).group_by(place)
    counts = [0] * BINS
    for row in connection.execute(of):
        counts[min(int(row.place), BINS - 1)] += row.n
    return [{"from": least + at * width, "to": least + (at + 1) * width, "n": n} for at, n in enumerate(counts)]


def _drivers(connection: Connection, table: Table, as_of: datetime, columns: Sequence[str]) -> list[dict[str, Any]]:
    """What moves the scores: the mean size of each feature's contribution, the greatest first.

    A run of an older model may have had fewer features: what it has no word on is left out.
    """
    of = select(table.c.contributions).where(table.c.as_of == as_of).order_by(table.c.subject_id).limit(_SAMPLE)
    rows = [msgspec.json.decode(text, type=list[float | None]) for text in connection.scalars(of)]
    known = min(map(len, rows), default=0)
    sizes = {name: sum(abs(row[at] or 0.0) for row in rows) / len(rows) for at, name in enumerate(columns[:known])}
    return [{"feature": name, "mean": size} for name, size in sorted(sizes.items(), key=lambda pair: -pair[1])]


def _offers(connection: Connection, table: Table, as_of: datetime) -> list[dict[str, Any]]:
    """Each offer: to how many, at what cost, for what gain."""
    money = (func.sum(table.c.cost_usd).label("cost_usd"), func.sum(table.c.gain_usd).label("gain_usd"))
    of = select(table.c.offer, func.count().label("n"), *money).where(table.c.as_of == as_of).group_by(table.c.offer)
    return [row._asdict() for row in connection.execute(of.order_by(func.sum(table.c.gain_usd).desc()))]


def _likeliest(
    connection: Connection, table: Table, by: str, as_of: datetime, offers: Table | None
) -> list[dict[str, Any]]:
    """The first subjects by one of the columns, with why, and what each is offered."""
    shown = [column for column in table.c if column.name not in ("as_of", "version", "features", "contributions")]
    of = select(*shown).where(table.c.as_of == as_of).order_by(table.c[by].desc(), table.c.subject_id).limit(LIKELIEST)
    rows = [row._asdict() for row in connection.execute(of)]
    offered: dict[str, dict[str, Any]] = {}
    if offers is not None:
        theirs = offers.c.subject_id.in_([row["subject_id"] for row in rows])
        for row in connection.execute(select(offers).where(offers.c.as_of == as_of, theirs)):
            offered[row.subject_id] = {name: value for name, value in row._asdict().items() if name != "as_of"}
    return [
        {**row, "reasons": msgspec.json.decode(row["reasons"]), "offer": offered.get(row["subject_id"])} for row in rows
    ]
