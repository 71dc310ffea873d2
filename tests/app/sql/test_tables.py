"""Tables are created and completed, and refused when they are not ours as they are now; on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, insert, inspect, select, text

from app.errors import ConfigurationError
from app.sql.tables import check, ensure


def things(*columns: Column[object]) -> MetaData:
    metadata = MetaData()
    Table("things", metadata, Column("id", Integer, primary_key=True), *columns)
    return metadata


NAMED = things(Column("name", String(9), nullable=False))
COLOURED = things(
    Column("name", String(9), nullable=False), Column("colour", String(9), nullable=False, server_default="red")
)


def test_a_column_with_a_default_is_added_to_a_table_of_before(engine: Engine) -> None:
    ensure(engine, NAMED, "THE_SETTING")
    with engine.begin() as connection:
        connection.execute(insert(NAMED.tables["things"]), {"id": 1, "name": "ball"})
    for _ in range(2):
        ensure(engine, COLOURED, "THE_SETTING")
    with engine.connect() as connection:
        assert connection.execute(select(COLOURED.tables["things"])).all() == [(1, "ball", "red")]


def test_several_may_complete_it_at_once(engine: Engine) -> None:
    ensure(engine, NAMED, "THE_SETTING")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ensure(engine, COLOURED, "THE_SETTING"), range(8)))


def test_a_table_that_lacks_more_than_defaults_can_say_is_refused_as_it_is(engine: Engine) -> None:
    ensure(engine, things(), "THE_SETTING")
    with pytest.raises(
        ConfigurationError, match=r"THE_SETTING: the table things has no column colour, name: .* do this$"
    ):
        ensure(engine, COLOURED, "THE_SETTING", "do this")
    assert [column["name"] for column in inspect(engine).get_columns("things")] == ["id"]


@pytest.mark.parametrize(
    "made", ["id INTEGER PRIMARY KEY, name VARCHAR(9), more INTEGER", "id INTEGER, name VARCHAR(9) PRIMARY KEY"]
)
def test_one_with_other_columns_or_another_key_is_for_reading_only(engine: Engine, made: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE things ({made})"))
    check(engine, NAMED, "THE_SETTING")
    with pytest.raises(ConfigurationError, match="THE_SETTING: the table things was made by another version"):
        ensure(engine, NAMED, "THE_SETTING")


def test_what_is_only_read_may_be_a_view_and_must_be_there(engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="THE_SETTING: the database has no table things"):
        check(engine, NAMED, "THE_SETTING")
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW things AS SELECT 1 AS id, 'ball' AS name"))
    check(engine, NAMED, "THE_SETTING")
