"""Creates the tables of a database of ours, and refuses those that are not as they must be. SQLite or PostgreSQL."""

from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, Table, func, inspect, select, text
from sqlalchemy.schema import CreateColumn

from app.errors import ConfigurationError
from app.sql.engine import answering, file_of, whereabouts

ANOTHER = "name another database, or delete this one"

_CREATING = 20481
"""Of PostgreSQL's advisory locks, the one that stands for creating tables."""


def ensure(engine: Engine, metadata: MetaData, setting: str, remedy: str = ANOTHER) -> None:
    """Create what is missing, columns that have a default too; several processes may do so at the same time.

    Args:
        engine: of the database.
        metadata: the tables that must be there.
        setting: which names the database, for the error: "MILLRACE_DATABASE".
        remedy: what to do about tables that are not ours as they are now.

    Raises `ConfigurationError` for a table with other columns or another key, since it would refuse every write, and for
    a file whose directory cannot be made; and `ServiceUnavailable`.
    """
    if path := file_of(engine.url):
        _make(path.parent, setting)
    with answering(whereabouts(engine.url, setting)), engine.begin() as connection:
        _alone(connection)
        metadata.create_all(connection)
        for table in metadata.sorted_tables:
            _complete(connection, table)
    check(engine, metadata, setting, remedy, exactly=True)


def check(engine: Engine, metadata: MetaData, setting: str, remedy: str = ANOTHER, *, exactly: bool = False) -> None:
    """Whether the tables, or views of their names, are there with their columns; `exactly`: with no others, and with their key.

    Raises `ConfigurationError` where one is not, and `ServiceUnavailable`.
    """
    with answering(whereabouts(engine.url, setting)), engine.connect() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            if not found.has_table(table.name):
                raise ConfigurationError(f"{setting}: the database has no table {table.name}")
            wanted, there = set(table.columns.keys()), {column["name"] for column in found.get_columns(table.name)}
            if missing := sorted(wanted - there):
                raise ConfigurationError(
                    f"{setting}: the table {table.name} has no column {', '.join(missing)}: it is not ours, or of "
                    f"another version; {remedy}"
                )
            key = set(found.get_pk_constraint(table.name)["constrained_columns"])
            if exactly and (there != wanted or key != set(table.primary_key.columns.keys())):
                raise ConfigurationError(
                    f"{setting}: the table {table.name} was made by another version of Millrace; {remedy}"
                )


def _make(directory: Path, setting: str) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        named = f"{setting}, or MILLRACE_DATA_DIR where that is unset"
        raise ConfigurationError(f"{named}: {directory} cannot be made: {error.strerror}") from error


def _alone(connection: Connection) -> None:
    """Keep others from creating tables until the transaction ends: of those that start together, one finds nothing there.

    Some engines begin every transaction with SQLite's lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_CREATING)))
    elif not getattr(connection.connection.driver_connection, "in_transaction", True):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _complete(connection: Connection, table: Table) -> None:
    """Add to a table of an earlier version what it lacks, if defaults say what all of that was."""
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    lacking = [column for name, column in table.columns.items() if name not in there]
    if all(column.server_default is not None for column in lacking):
        for column in lacking:
            described = CreateColumn(column).compile(connection)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {described}"))
