"""Statements past SQLAlchemy: the same rows, on SQLite and on PostgreSQL, in whatever order the parameters are named."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from app.sql.prepared import Prepared
from app.sql.schema import Instant

metadata = MetaData()
marks = Table(
    "prepared_marks", metadata, Column("a", String(8), primary_key=True), Column("n", Integer), Column("b", LargeBinary)
)

moments = Table(
    "prepared_moments",
    metadata,
    Column("name", String(8), primary_key=True),
    Column("at", Instant),
    Column("left_out", Integer),
)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_it_writes_and_counts_what_the_database_took(engine: Engine) -> None:
    insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(marks).on_conflict_do_nothing()
    put = Prepared(insert, ["n", "a", "b"], engine.dialect)
    change = update(marks).where(marks.c.a == bindparam("of")).values(n=bindparam("to"))
    move = Prepared(change, ["of", "to"], engine.dialect)
    with engine.begin() as connection:
        assert put(connection, [(1, "x", b"\x00"), (None, "y", b"%s ? :n")]) == 2
        assert put(connection, [(9, "x", None), (3, "z", None)]) == 1
        assert put(connection, []) == 0
        assert move(connection, [("x", 7), ("nobody", 8)]) == 1
        rows = connection.execute(select(marks).order_by(marks.c.a)).all()
    assert [tuple(row) for row in rows] == [("x", 7, b"\x00"), ("y", None, b"%s ? :n"), ("z", 3, None)]


def test_names_that_are_not_the_statements_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="the statement takes"):
        Prepared(marks.insert(), ["a", "nobody"], engine.dialect)


def test_values_are_converted_as_their_types_want_them(engine: Engine) -> None:
    put = Prepared(moments.insert(), ["at", "name"], engine.dialect)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with engine.begin() as connection:
        put(connection, [put.row([noon.astimezone(timezone(timedelta(hours=5))), "noon"])])
        assert connection.execute(select(moments.c.at, moments.c.name, moments.c.left_out)).all() == [
            (noon, "noon", None)
        ]
