"""The tables of scheduled runs, beside the store's: what ran when and how it went. `app.sql.runs` reads and writes them.

A job's own tables of scores are declared with the job. Each has a twin `<name>_staging`, without keys, into which a run
writes; what lies in the table itself is always whole.
"""

from functools import cache
from typing import Final

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

from app.sql.schema import Instant

metadata = MetaData()
staging_metadata = MetaData()

WAITING: Final = "waiting"
"""Due, or to be tried again at `due_at`."""

RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
"""Given up, for good."""

SKIPPED: Final = "skipped"
"""Missed, and the job's catch-up policy does not want it."""

LOST: Final = "lost"
"""Of an attempt: its worker was killed or hung, and another took the run over."""

schedules = Table(
    "schedules",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("settled_until", Instant, nullable=False),  # what was due up to here has its row in `runs`
)

runs = Table(
    "runs",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("as_of", Instant, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("scheduled", Boolean, nullable=False),  # else asked for by hand
    Column("due_at", Instant, nullable=False),
    Column("attempt", Integer, nullable=False),  # 0 before the first
    Column("tries", Integer, nullable=False),  # attempts since it was last asked for; bounded by the job's retries
    Column("worker", String(200)),
    Column("lease_until", Instant),  # of the worker; past it, another may take over
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("version", String(64)),  # of the model
    Column("subjects", Integer),  # how many there are to score
    Column("reached", Integer),  # how many of them the attempt has been through
    Column("scored", Integer),
    Column("problems", Integer),
    Column("error", Text),  # of the last attempt that failed
)
# A job never overlaps itself: the database refuses a second run of it that is running.
Index(
    "ix_runs_one_at_a_time",
    runs.c.job,
    unique=True,
    sqlite_where=runs.c.state == RUNNING,
    postgresql_where=runs.c.state == RUNNING,
)

attempts = Table(
    "run_attempts",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("as_of", Instant, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker", String(200), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("outcome", String(16), nullable=False),  # running, done, failed, lost, waiting (stopped, not failed)
    Column("error", Text),
)

problems = Table(
    "run_problems",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("as_of", Instant, primary_key=True),
    Column("subject_id", String(64), primary_key=True),
    Column("problem", Text, nullable=False),
)


def scores_table(name: str, *columns: Column[object]) -> Table:
    """A job's table of scores: the columns every reader counts on, then the job's own.

    `contributions` and `features` are JSON arrays in the order of the job's columns; `reasons` is a JSON array of
    `{"words", "log_odds"}`, the strongest first, positive where it raises the score.
    """
    table = Table(
        name,
        MetaData(),
        Column("as_of", Instant, primary_key=True),
        Column("subject_id", String(64), primary_key=True),
        Column("value", Float(53), nullable=False),
        Column("version", String(64), nullable=False),
        Column("reasons", Text, nullable=False),
        Column("features", Text, nullable=False),
        Column("contributions", Text, nullable=False),
        *columns,
    )
    Index(f"ix_{name}_value", table.c.as_of, table.c.value)
    return table


@cache
def staging(table: Table) -> Table:
    """The twin a run writes into: the same columns, no keys, and whose rows they are."""
    columns = [Column(column.name, column.type) for column in table.columns]
    ours = (Column("run_job", String(64), nullable=False), Column("run_attempt", Integer, nullable=False))
    return Table(f"{table.name}_staging", staging_metadata, *columns, *ours)
