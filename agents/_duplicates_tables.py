"""The tables of the index of `agents._duplicates`, and what every transaction on them begins and ends with."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    select,
)

from agents._duplicates_engine import wait_no_longer
from app.sql.engine import DATABASE
from app.sql.tables import ensure
from app.sql.upserts import inserting

metadata = MetaData()
versions = Table(
    "duplicate_versions",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", String(64), nullable=False),
    Column("upload_id", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("words", Integer, nullable=False),
    Column("content", Integer, nullable=False),
    Column("sample", LargeBinary, nullable=False),
    Column("entered", BigInteger, nullable=False, server_default="0"),  # 0: before there were numbers
    sqlite_with_rowid=False,
)
Index("ix_duplicate_versions_upload", versions.c.upload_id, versions.c.at_us)
bands = Table(
    "duplicate_bands",
    metadata,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
entries = Table(
    "duplicate_entries",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),  # the last number given out
)


def create(engine: Engine) -> None:
    """Create what is missing. Raises `ConfigurationError` for tables that are not as they are now, and `ServiceUnavailable`."""
    ensure(engine, metadata, DATABASE)
    with engine.begin() as connection:
        insert(connection, entries, [{"one": 1, "last": 0}])


def only_one(connection: Connection) -> int:
    """The last number given out; no other worker enters anything until this transaction is over.

    SQLite lets only one of them begin; in PostgreSQL whoever comes next waits here, and then sees all that was entered.
    """
    wait_no_longer(connection)
    return int(connection.execute(select(entries.c.last).with_for_update()).scalar_one())


def insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Those that are not there yet."""
    if rows:
        # A worker of before there were numbers enters beside the others, without waiting.
        connection.execute(inserting(connection.dialect)(table).on_conflict_do_nothing(), rows)
