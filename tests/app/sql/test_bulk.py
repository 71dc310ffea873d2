"""Many rows at once, on both databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, Table, select

from app.errors import ServiceUnavailable
from app.sql.bulk import load
from app.sql.engine import answering
from app.sql.schema import Instant

THINGS = Table(
    "things", MetaData(), Column("id", Integer, primary_key=True), Column("at", Instant), Column("value", LargeBinary)
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_rows_come_back_as_they_were_given_and_are_counted(engine: Engine) -> None:
    zone = timezone(timedelta(hours=5))
    rows = [(number, NOON.astimezone(zone), b"\0\\\t" if number % 2 else None) for number in range(12_000)]
    with engine.begin() as connection:
        THINGS.metadata.create_all(connection)
        assert load(connection, THINGS, iter(rows)) == len(rows)
        assert load(connection, THINGS, []) == 0
    with engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(select(THINGS).order_by(THINGS.c.id))] == rows


def test_what_the_database_refuses_is_an_error_of_the_database(engine: Engine) -> None:
    THINGS.metadata.create_all(engine)
    with pytest.raises(ServiceUnavailable, match=r"(?i)unique"), answering("it"), engine.begin() as connection:
        load(connection, THINGS, [(1, NOON, None), (1, NOON, None)])
