"""Many rows into a table, as fast as the database takes them: PostgreSQL's COPY, SQLite's executemany."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.exc import DBAPIError

from app.sql.prepared import Prepared

Row = Sequence[Any]
"""One value for each column of the table, in its order."""

_CHUNK = 5000
"""Rows in memory at a time for executemany; more is not faster."""


def load(connection: Connection, table: Table, rows: Iterable[Row]) -> int:
    """Append rows within the connection's transaction; how many. Memory does not grow with their number.

    Raises `sqlalchemy.exc.DBAPIError` for what the database refuses, and when it goes away.

    COPY moves some ten times as many rows a second as INSERT does, for it parses no statement per row.
    """
    if connection.dialect.name == "postgresql":
        return _copy(connection, table, rows)
    return _insert(connection, table, rows)


def _copy(connection: Connection, table: Table, rows: Iterable[Row]) -> int:
    prepare = connection.dialect.identifier_preparer
    names = ", ".join(prepare.quote(column.name) for column in table.columns)  # of our own tables, quoted
    binds = [column.type.dialect_impl(connection.dialect).bind_processor(connection.dialect) for column in table.c]
    wanting = [(place, bind) for place, bind in enumerate(binds) if bind is not None]
    statement = f"COPY {prepare.format_table(table)} ({names}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    count = 0
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                values = list(row)
                for place, bind in wanting:  # few do: to ask every value takes as long as to send it
                    values[place] = bind(values[place])
                copy.write_row(values)
                count += 1
    except connection.dialect.loaded_dbapi.Error as error:  # as SQLAlchemy says it of all it executes itself
        raise DBAPIError(statement, None, error) from error
    return count


def _insert(connection: Connection, table: Table, rows: Iterable[Row]) -> int:
    put, remaining, count = _put(table, connection.dialect), iter(rows), 0
    while chunk := [put.row(row) for row in islice(remaining, _CHUNK)]:
        count += put(connection, chunk)
    return count


@lru_cache(maxsize=64)
def _put(table: Table, dialect: Dialect) -> Prepared:
    return Prepared(insert(table), table.columns.keys(), dialect)
