"""How a database of ours is connected to, and what it means when it does not answer. SQLite or PostgreSQL."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import ConfigurationError, ServiceUnavailable

DATABASE: Final = "MILLRACE_DATABASE"
"""The setting that names the store's database, and those beside it."""

_BUSY_S = 10.0  # transactions here take milliseconds
_AGAIN_S = 0.01


def engine_for(url: str | URL, setting: str = DATABASE, busy_s: float = _BUSY_S) -> Engine:
    """An engine for the database that `setting` names; connects to nothing and creates nothing yet. On SQLite, a writer waits `busy_s` for another.

    Raises `ConfigurationError` for a url nobody understands.
    """
    with _understood(setting):
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True, pool_size=2, max_overflow=8, pool_timeout=_BUSY_S)
        engine = create_engine(parsed, connect_args={"timeout": busy_s})
    event.listen(engine, "connect", lambda connection, _record: _tuned(connection, busy_s))
    return engine


def beside(url: str, name: str) -> URL:
    """The database of what must not wait for the store's writers: the same PostgreSQL, but with SQLite a file of its own.

    SQLite has one writer per file. Raises `ConfigurationError` for a url nobody understands.

    >>> str(beside("sqlite:////data/millrace.db", "replays"))
    'sqlite:////data/millrace-replays.db'
    """
    with _understood(DATABASE):
        parsed = make_url(url)
    path = file_of(parsed)
    if path is None:
        return parsed
    return parsed.set(database=str(path.with_name(f"{path.stem}-{name}{path.suffix or '.db'}")))


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database; `None` for one in memory, and for a server's.

    >>> file_of(make_url("sqlite:////data/millrace.db"))
    PosixPath('/data/millrace.db')
    >>> file_of(make_url("sqlite://")), file_of(make_url("sqlite:///:memory:")), file_of(make_url("postgresql://db/x"))
    (None, None, None)
    """
    in_memory = url.database in (None, "", ":memory:")
    return None if in_memory or url.get_backend_name() != "sqlite" else Path(str(url.database))


def whereabouts(url: URL, setting: str = DATABASE) -> str:
    """Where to look when this database does not answer: the setting that names it, and its file if it is one."""
    path = file_of(url)
    return setting if path is None else f"{setting} ({path})"


@contextmanager
def answering(of: str) -> Iterator[None]:
    """A database that does not answer is our `ServiceUnavailable`, in one line; `of` says which, or what it was asked for."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        problem = error.orig if isinstance(error, DBAPIError) else error
        raise ServiceUnavailable("database", f"{of}: {' '.join(str(problem).split())}") from error


@contextmanager
def _understood(setting: str) -> Iterator[None]:
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(f"{setting}: {error}") from error


def _tuned(connection: sqlite3.Connection, busy_s: float) -> None:
    """Readers do not wait for the writer (WAL), and a commit survives kill -9; only a power cut may take the last ones.

    A file is turned to WAL by one connection alone, and SQLite does not wait for that one as it waits for a writer.
    """
    deadline = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)
    connection.execute("PRAGMA synchronous=NORMAL")
