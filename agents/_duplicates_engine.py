"""How the index of `agents._duplicates` connects: PostgreSQL as it is, SQLite in a file of its own."""

from typing import Any

from sqlalchemy import Connection, Engine, event

from app.sql import engine as databases

_BEGIN_WRITING, _BEGIN_READING = "BEGIN IMMEDIATE", "BEGIN"
"""Take the write lock at once where there will be writing: a reader that turns writer cannot wait, it fails."""

_BUSY_S = 4.0  # how long one worker waits for another's batch; below the time a model is given for one


def engine_for(database_url: str, *, writes: bool = True) -> Engine:
    """An engine for the index; connects to nothing yet. Raises `ConfigurationError` for a url nobody understands.

    One that never writes need not take SQLite's write lock, and so holds up no worker.
    """
    engine = databases.engine_for(databases.beside(database_url, "duplicates"), busy_s=_BUSY_S)
    if engine.dialect.name == "sqlite":
        begin = _BEGIN_WRITING if writes else _BEGIN_READING
        event.listen(engine, "connect", _tune)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def wait_no_longer(connection: Connection) -> None:
    """In this transaction, wait for another worker's only so long; SQLite is told so when it is connected to."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(_BUSY_S * 1000)}")


def _tune(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # pysqlite's own BEGIN comes too late
    connection.execute("PRAGMA cache_size=-65536")
