"""Tables are created and completed, and refused when they are not ours as they are now; on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, insert, inspect, select, text

from app.errors import ConfigurationError, ServiceUnavailable
from app.sql.engine import engine_for
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


@pytest.mark.parametrize("ask", [check, ensure])
def test_a_database_that_is_away_is_told_by_its_setting_in_one_line(ask: Callable[..., None]) -> None:
    away = engine_for("postgresql+psycopg://nobody@127.0.0.1:9/x", "THE_SETTING")
    with pytest.raises(ServiceUnavailable, match=r"\Adatabase: THE_SETTING: .*refused.*\Z"):
        ask(away, NAMED, "THE_SETTING")


def test_a_file_that_is_no_database_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database, but words " * 100)
    with pytest.raises(ServiceUnavailable, match=r"THE_SETTING \(.*/x.db\): file is not a database"):
        ensure(engine_for(f"sqlite:///{tmp_path}/x.db", "THE_SETTING"), NAMED, "THE_SETTING")


def test_the_directory_of_a_file_is_made_or_told(tmp_path: Path) -> None:
    ensure(engine_for(f"sqlite:///{tmp_path}/fresh/deep/x.db"), NAMED, "THE_SETTING")
    (tmp_path / "taken").touch()
    with pytest.raises(
        ConfigurationError, match=r"^THE_SETTING, or .*: .*/taken/deep cannot be made: Not a directory$"
    ):
        ensure(engine_for(f"sqlite:///{tmp_path}/taken/deep/x.db"), NAMED, "THE_SETTING")
