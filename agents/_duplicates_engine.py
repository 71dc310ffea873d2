"""How the index of `agents._duplicates` connects: PostgreSQL as it is, SQLite in a file of its own."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from app.errors import ConfigurationError

_BEGIN_WRITING, _BEGIN_READING = "BEGIN IMMEDIATE", "BEGIN"
"""Take the write lock at once where there will be writing: a reader that turns writer cannot wait, it fails."""

_BUSY_S = 4.0  # how long one worker waits for another's batch; below the time a model is given for one


def engine_for(database_url: str, *, writes: bool = True) -> Engine:
    """An engine for the index; connects to nothing yet. Raises `ConfigurationError` for a url nobody understands.

    One that never writes need not take SQLite's write lock, and so holds up no worker.
    """
    try:
        url = make_url(database_url)
        if url.get_backend_name() != "sqlite":
            return create_engine(url, pool_pre_ping=True, pool_size=1, max_overflow=2, pool_timeout=_BUSY_S)
        return _sqlite(url, _BEGIN_WRITING if writes else _BEGIN_READING)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(f"MILLRACE_DATABASE: {error}") from error


def wait_no_longer(connection: Connection) -> None:
    """In this transaction, wait for another worker's only so long; SQLite is told so when it is connected to."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(_BUSY_S * 1000)}")


def _sqlite(url: URL, begin: str) -> Engine:
    # SQLite has one writer per file: the decision worker must not wait for the index, nor the index for it.
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(path.with_name(f"{path.stem}-duplicates{path.suffix or '.db'}")))
        engine = create_engine(url, connect_args={"timeout": _BUSY_S})
    else:
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _tune)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _tune(connection: Any, _record: object) -> None:
    """Readers do not wait for the writer; a commit survives kill -9, and what a power cut takes is sent again."""
    connection.isolation_level = None  # pysqlite's own BEGIN comes too late
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_size=-65536")
