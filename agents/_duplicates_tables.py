"""The tables of the index of `agents._duplicates`, and what every transaction on them begins with."""

import json
from collections.abc import Collection
from functools import cache
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
    Result,
    Select,
    String,
    Table,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from agents._duplicates_engine import wait_no_longer
from app.errors import ConfigurationError, ServiceUnavailable
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
    Column("entered", BigInteger, nullable=False),
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
    """Create what is missing. Raises `ServiceUnavailable`, for tables that are not as they are now, too.

    For this is asked with the first uploads in hand, and they are not to blame.
    """
    try:
        ensure(engine, metadata, DATABASE)
    except ConfigurationError as error:
        raise ServiceUnavailable("database", str(error)) from error
    with engine.begin() as connection:
        unless_there = inserting(connection.dialect)(entries).on_conflict_do_nothing()
        connection.execute(unless_there.values(one=1, last=0))


def only_one(connection: Connection) -> int:
    """The last number given out; no other worker enters anything until this transaction is over.

    SQLite lets only one of them begin; in PostgreSQL whoever comes next waits here, and then sees all that was entered.
    """
    wait_no_longer(connection)
    return int(connection.execute(select(entries.c.last).with_for_update()).scalar_one())


def having(connection: Connection, column: Column[Any], values: Collection[Any]) -> Result[Any]:
    """The rows of its table that have one of these values in the column; any number of them, as one parameter."""
    dialect, several = connection.dialect.name, list(values)
    given = several if dialect == "postgresql" else json.dumps(several)
    return connection.execute(_having(column, dialect), {"values": given})


@cache
def _having(column: Column[Any], dialect: str) -> Select[Any]:
    if dialect == "postgresql":
        listed = func.unnest(bindparam("values", type_=ARRAY(column.type))).table_valued("value").render_derived()
    else:
        listed = func.json_each(bindparam("values", type_=String)).table_valued("value")
    return select(column.table).where(column.in_(select(listed.c.value)))
