"""What people's tables hold: texts over several lines, numbers that look like text and the other way round, queries with colons."""

import csv
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import create_engine, text

from app.errors import ConfigurationError
from app.modes.replay.cells import event_as_json
from app.modes.replay.tables import CsvTable, ParquetTable, QueryTable, Table

TAG = "millrace.content.uploaded.v1"


def write(path: Path, names: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def rows(table: Table) -> list[dict[str, Any]]:
    return [msgspec.json.decode(row) for row in chain.from_iterable(table.values(0, table.count()))]


def test_a_quoted_cell_goes_on_over_several_lines_wherever_a_block_ends(tmp_path: Path) -> None:
    said = [
        f'{number}: "one",\ntwo {"x" * 90}{chr(10) * (number % 3)}' for number in range(20_000)
    ]  # two blocks of 1 MB
    path = write(tmp_path / "uploads.csv", ["title", "text"], [["t", each] for each in said])
    assert [row["text"] for row in rows(CsvTable(path, TAG))] == said


def test_a_text_is_a_text_whatever_it_looks_like(tmp_path: Path) -> None:
    said = ["7", "007", "NA", "null", "nan", "2023-02-01", "true", "word"]
    path = write(tmp_path / "uploads.csv", ["title", "description"], [[each, each] for each in [*said, ""]])
    assert rows(CsvTable(path, None)) == [{"title": each, "description": each} for each in said] + [{}]


def test_a_row_without_a_type_is_the_default_event_wherever_it_lies(tmp_path: Path) -> None:
    told = [{"type": "other", "title": "one"}, {"type": TAG, "title": "two"}]
    pq.write_table(pa.table({"type": ["other", None], "title": ["one", "two"]}), tmp_path / "uploads.parquet")
    csv_file = write(tmp_path / "uploads.csv", ["type", "title"], [["other", "one"], ["", "two"]])
    query = "SELECT 'other' AS type, 'one' AS title UNION SELECT NULL, 'two' ORDER BY title"
    assert rows(ParquetTable(tmp_path / "uploads.parquet", TAG)) == told
    assert rows(CsvTable(csv_file, TAG)) == told
    assert rows(QueryTable(query, "sqlite://", TAG)) == told


def test_a_column_of_types_may_say_nothing_at_all(tmp_path: Path) -> None:
    pq.write_table(pa.table({"type": pa.nulls(1), "title": ["one"]}), tmp_path / "uploads.parquet")
    assert rows(ParquetTable(tmp_path / "uploads.parquet", TAG)) == [{"type": TAG, "title": "one"}]


def test_a_cell_that_is_no_number_is_a_matter_of_its_row(tmp_path: Path) -> None:
    names = ["type", "passengers", "pickup.lat"]
    cells = [["", "2", "40.5"], ["", "two", "40"], ["other", "NA", ""], ["", "1e999", "4.0"]]
    assert rows(CsvTable(write(tmp_path / "rides.csv", names, cells), "ride")) == [
        {"type": "ride", "passengers": 2, "pickup": {"lat": 40.5}},
        {"type": "ride", "passengers": "two", "pickup": {"lat": 40}},
        {"type": "other", "pickup": {}},
        {"type": "ride", "passengers": None, "pickup": {"lat": 4}},
    ]


@pytest.mark.parametrize("ending", ["", ";", " -- the end", "\n-- the end\n"])
def test_a_query_is_taken_as_it_is_typed(ending: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rides.db'}"
    with create_engine(url).begin() as connection:
        connection.execute(text("CREATE TABLE rides (at TEXT, user_id TEXT)"))
        connection.execute(
            text("INSERT INTO rides VALUES ('2023-02-01T08:30:00Z', 'u'), ('2023-02-01T09:30:00Z', 'v')")
        )
    query = f"SELECT at, user_id, ':one' AS title FROM rides WHERE at > '2023-02-01T09:00' ORDER BY at{ending}"
    told = {"at": "2023-02-01T09:30:00Z", "user_id": "v", "title": ":one"}
    assert rows(QueryTable(query, url, None)) == [told]


@pytest.mark.parametrize(
    ("query", "url", "says"),
    [
        ("SELECT 1 -- ORDER BY 1", "sqlite://", "say ORDER BY"),
        ("SELECT 1 ORDER BY 1", "nonsense", "--sql-url: "),
        ("SELECT a FROM b ORDER BY 1", "sqlite://", "^--sql, asked of --sql-url: no such table: b$"),
        ("SELECT 1 ORDER BY 1", "sqlite:////no/where.db", r"asked of --sql-url \(/no/where.db\): unable to open"),
    ],
)
def test_a_query_that_cannot_be_asked_is_said_in_a_sentence(query: str, url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        QueryTable(query, url, None).count()


def test_a_number_of_a_database_stays_one() -> None:
    """PostgreSQL's numeric comes as a Decimal."""
    assert event_as_json({"fare_usd": Decimal("12.50"), "tip_usd": None}, None) == b'{"fare_usd":12.50}'


def test_the_words_of_postgresql_are_its_own(postgres: str) -> None:
    """A cast has two colons, a pattern its percent signs, and `numeric` comes as a Decimal."""
    query = """
        SELECT '7'::int AS passengers, 1.50::numeric AS "pickup.lat", 'half %' AS title, 'a:b' AS user_id, NULL AS text
        WHERE 'half %' LIKE '%f \\%%' ORDER BY 1 -- once
    """
    told = {"passengers": 7, "pickup": {"lat": 1.5}, "title": "half %", "user_id": "a:b", "type": TAG}
    assert rows(QueryTable(query, postgres, TAG)) == [told]
