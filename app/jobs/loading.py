"""How a run's rows get into a job's tables: chunk by chunk into the staging twins, then all at once into the tables.

A reader never sees half a run. Each chunk is a short transaction, so that other writers of an SQLite file do not wait long.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Table, and_, delete, insert, select, true

from app.sql import bulk
from app.sql.bulk import Row
from app.sql.engine import DATABASE
from app.sql.run_schema import metadata, problems, staging, staging_metadata
from app.sql.runs import Run, Runs
from app.sql.tables import ensure


class Loading:
    """The rows of one claimed run. Made with the claim: what an attempt that died had staged is thrown away."""

    def __init__(self, runs: Runs, run: Run, load: Sequence[Table]) -> None:
        self._runs, self._run = runs, run
        self._tables = {table.name: table for table in (*load, problems)}
        twins = [staging(table) for table in self._tables.values()]
        for each in (metadata, staging_metadata, *(table.metadata for table in load)):
            ensure(runs.engine, each, DATABASE)
        with runs.transaction() as connection:
            for twin in twins:
                connection.execute(delete(twin).where(twin.c.run_job == run.job))

    def add(self, rows: Mapping[str, Sequence[Row]], failed: Mapping[str, str]) -> None:
        """Stage the rows of a chunk, by table, and why the other subjects of the chunk have none, by id."""
        ours = (self._run.job, self._run.attempt)
        told = [(self._run.job, self._run.as_of, subject, problem) for subject, problem in failed.items()]
        with self._runs.transaction() as connection:
            for name, chunk in {**rows, problems.name: told}.items():
                bulk.load(connection, staging(self._tables[name]), ((*row, *ours) for row in chunk))

    def publish(self, *, scored: int, failed: int) -> None:
        """Replace what the tables hold of this as-of time by what was staged, and mark the run as done, in one transaction.

        Raises `Overtaken` when the run is no longer ours; then nothing has changed.
        """
        with self._runs.transaction() as connection:
            self._runs.finish(connection, self._run, scored=scored, problems=failed, reached=scored + failed)
            for table in self._tables.values():
                twin = staging(table)
                ours = and_(twin.c.run_job == self._run.job, twin.c.run_attempt == self._run.attempt)
                names = table.columns.keys()
                connection.execute(delete(table).where(self._same(table)))
                connection.execute(
                    insert(table).from_select(names, select(*(twin.c[name] for name in names)).where(ours))
                )
                connection.execute(delete(twin).where(twin.c.run_job == self._run.job))

    def _same(self, table: Table) -> ColumnElement[bool]:
        """The rows of this run in a table; one that several jobs fill has a column `job`."""
        shared = table.c.job == self._run.job if "job" in table.c else true()
        return and_(table.c.as_of == self._run.as_of, shared)
