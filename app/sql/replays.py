"""The store of replays, beside the live one: in the same PostgreSQL, but with SQLite in a file of its own.

SQLite has one writer per file, and a replay writes without pause: the decision worker must never wait for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine, inspect, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import ConfigurationError
from app.sql.replay_schema import metadata
from app.sql.tables import create
from app.store import answering, engine_for


class Replays:
    """An open database of replays. Everything is synchronous: call it through `asyncio.to_thread`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, database_url: str) -> Self:
        """The replays that belong to the store at `database_url`; creates what is missing.

        Raises `ConfigurationError` for a url nobody understands, and for tables that are not ours as they are now.
        """
        replays = cls(engine_for(beside(database_url)))
        create(replays.engine, metadata)
        replays._compare()
        return replays

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection for reading."""
        with answering(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is kept whole or not at all."""
        with answering(), self.engine.begin() as connection:
            yield connection

    def _compare(self) -> None:
        with self.connected() as connection:
            found = inspect(connection)
            for table in metadata.sorted_tables:
                if {column["name"] for column in found.get_columns(table.name)} != set(table.columns.keys()):
                    raise ConfigurationError(
                        f"the table {table.name} was made by another version of Millrace: drop the tables of replays "
                        "(replay*, whatif*), which can be computed again"
                    )


def beside(database_url: str) -> str:
    """Where the replays of a store are kept: `millrace-replays.db` beside an SQLite `millrace.db`."""
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise ConfigurationError(f"MILLRACE_DATABASE: {error}") from error
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        url = url.set(database=str(path.with_name(f"{path.stem}-replays{path.suffix or '.db'}")))
    return url.render_as_string(hide_password=False)
