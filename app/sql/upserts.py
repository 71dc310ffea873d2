"""Inserts that mind what is there already: one word for both databases, SQLite and PostgreSQL."""

from collections.abc import Callable

from sqlalchemy import Dialect, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite

Upsert = sqlite.Insert | postgresql.Insert
Into = Callable[[Table], Upsert]


def inserting(dialect: Dialect) -> Into:
    """The database's own `insert`, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return postgresql.insert if dialect.name == "postgresql" else sqlite.insert


def latest(into: Into, table: Table, *names: str) -> Insert:
    """The first to bring an id wins, but for these columns, where the last does."""
    insert, key = into(table), list(table.primary_key.columns)
    return insert.on_conflict_do_update(index_elements=key, set_={name: insert.excluded[name] for name in names})


def added(into: Into, table: Table, *names: str) -> Insert:
    """These columns add up."""
    insert, key = into(table), list(table.primary_key.columns)
    sums = {name: table.c[name] + insert.excluded[name] for name in names}
    return insert.on_conflict_do_update(index_elements=key, set_=sums)
