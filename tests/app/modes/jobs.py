"""A small job for the tests of runs and schedules: it scores numbers by a model that doubles them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import Column, Engine, Float, MetaData, String, Table, bindparam, insert, select

from app.jobs.job import Floats, History, Job, Scored, job
from app.modes.schedule import Scheduler
from app.registry import Artifact, Registry
from app.sql.bulk import Row
from app.sql.engine import engine_for
from app.sql.run_schema import scores_table
from app.sql.runs import Runs
from app.sql.schema import Instant
from app.testing import Clock

DAY = timedelta(days=1)
MONDAY = datetime(2026, 11, 16, 6, tzinfo=UTC)

numbers = Table(
    "numbers",
    MetaData(),
    Column("id", String(64), primary_key=True),
    Column("since", Instant, nullable=False),
    Column("number", Float(53)),
)
SCORES = scores_table("number_scores")
SUBJECTS = (
    select(numbers.c.id)
    .where(numbers.c.id > bindparam("after"), numbers.c.since < bindparam("as_of"))
    .order_by(numbers.c.id)
    .limit(bindparam("limit"))
)
EXTRACT = select(numbers.c.id, numbers.c.number).where(numbers.c.id.in_(bindparam("ids", expanding=True)))


class Doubled:
    """Twice the number; it raises for 13, and hinders everything while `failing` says so."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self._during = during

    def predict(self, features: Floats) -> Floats:
        self._during()
        if (features == 13).any():
            raise ArithmeticError("13 is not doubled")
        return np.asarray(features[:, 0] * 2)

    def contributions(self, features: Floats) -> Floats:
        return features


def record(scored: Scored) -> Mapping[str, Sequence[Row]]:
    rows = [
        (scored.history.as_of, subject, value, scored.version, "[]", "[]", "[]")
        for subject, value in zip(scored.history.ids, scored.values.tolist(), strict=True)
    ]
    return {SCORES.name: rows}


@job(
    "doubles",
    unit="number",
    columns=("number",),
    subjects=SUBJECTS,
    extract=EXTRACT,
    why=lambda rows: "there is no number",
    model=lambda artifact: Doubled(),
    load=(SCORES,),
    record=record,
    high=1000,
    cron="daily",
    chunk=10,
)
def doubles(history: History) -> Floats:
    known = {row[0]: np.nan if row[1] is None else float(row[1]) for row in history.rows}
    return np.array([[known[subject]] for subject in history.ids])


def source(url: str, values: Sequence[object]) -> Engine:
    """A source database that holds these numbers, with ids n000, n001, ..."""
    engine = engine_for(url)
    numbers.metadata.create_all(engine)
    rows = [{"id": f"n{row:03}", "since": MONDAY - 30 * DAY, "number": value} for row, value in enumerate(values)]
    with engine.begin() as connection:
        if rows:
            connection.execute(insert(numbers), rows)
    return engine


def registry(directory: Path) -> Registry:
    """One with a model for the job; its file is never read."""
    found = Registry(directory)
    found.register("doubles", {"model.txt": b"doubled"}, {}, "# doubles\n")
    return found


def scores(runs: Runs, as_of: datetime) -> dict[str, float]:
    """What a reader sees of a run."""
    query = select(SCORES.c.subject_id, SCORES.c.value).where(SCORES.c.as_of == as_of)
    with runs.engine.connect() as connection:
        return {row.subject_id: row.value for row in connection.execute(query)}


def variant(during: Callable[[], None], **changes: object) -> Job:
    """The job, with something that happens whenever its model is asked."""

    def model(_: Artifact) -> Doubled:
        return Doubled(during)

    return replace(doubles, model=model, **changes)  # type: ignore[arg-type]  # of the names of its fields


def scheduler(runs: Runs, engine: Engine, models: Registry, clock: Clock, one: Job = doubles) -> Scheduler:
    return Scheduler([one], runs, engine, models, clock)
