"""Creates the tables of a database of ours, and refuses those that are not as they must be. SQLite or PostgreSQL."""

from sqlalchemy import Engine, MetaData, inspect
from sqlalchemy.exc import DBAPIError

from app.errors import ConfigurationError, ServiceUnavailable
from app.store import answering

_TRIES = 5


def ensure(engine: Engine, metadata: MetaData, setting: str) -> None:
    """Create what is missing; several processes may do so at the same time.

    Args:
        engine: of the database.
        metadata: the tables that must be there.
        setting: which names the database, for the error: "MILLRACE_DATABASE".

    Raises `ConfigurationError` for a table that lacks a column, and `ServiceUnavailable`.
    """
    create(engine, metadata)
    check(engine, metadata, setting)


def create(engine: Engine, metadata: MetaData) -> None:
    """Create what is missing; several processes may do so at the same time. Raises `ServiceUnavailable`."""
    for attempt in range(_TRIES):
        try:
            metadata.create_all(engine)
            return
        except DBAPIError as error:  # whoever lost the race finds the tables there on the next try
            if attempt + 1 == _TRIES:
                raise ServiceUnavailable("database", str(error.orig)) from error


def check(engine: Engine, metadata: MetaData, setting: str) -> None:
    """Whether the tables are there, with their columns at the least. Raises `ConfigurationError` where one is not."""
    with answering(), engine.connect() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            if not found.has_table(table.name):
                raise ConfigurationError(f"{setting}: the database has no table {table.name}")
            columns = {column["name"] for column in found.get_columns(table.name)}
            if missing := sorted(set(table.columns.keys()) - columns):
                raise ConfigurationError(
                    f"{setting}: the table {table.name} has no column {', '.join(missing)}: it is not ours, or of "
                    "another version; name another database, or delete this one"
                )
