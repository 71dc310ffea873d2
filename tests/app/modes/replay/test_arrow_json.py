"""Rows of Arrow as JSON: what each row says, whatever the columns are made of."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ConfigurationError
from app.modes.replay.arrow_json import rows_as_json

INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


def rows(columns: dict[str, Any], tag: str | None = None) -> list[dict[str, Any]]:
    return [json.loads(row) for row in rows_as_json(pa.RecordBatch.from_pydict(columns), tag)]


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.floats(allow_nan=False, allow_infinity=False))))
def test_text_and_numbers_come_back_as_they_were(values: list[tuple[str | None, float | None]]) -> None:
    texts, numbers = [text for text, _ in values], [number for _, number in values]
    found = rows({"title": pa.array(texts, pa.string()), "lat": pa.array(numbers, pa.float64())}, "t")
    expected = [{"type": "t", "title": text, "lat": number} for text, number in values]
    assert found == [{name: value for name, value in row.items() if value is not None} for row in expected]


@given(st.lists(st.none() | INSTANTS, min_size=1))
def test_instants_are_exact_to_the_microsecond(values: list[datetime | None]) -> None:
    found = rows({"at": pa.array(values, pa.timestamp("us", "UTC"))})
    assert [row.get("at") and msgspec.convert(row["at"], datetime) for row in found] == values


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_instants_of_any_unit_and_zone(unit: str) -> None:
    at = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
    (row,) = rows({"at": pa.array([at], pa.timestamp(unit, "America/New_York"))})
    assert msgspec.convert(row["at"], datetime) == at


def test_instants_without_a_zone_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="need a time zone"):
        rows({"at": pa.array([0], pa.timestamp("us"))})


def test_what_lies_within_and_what_is_absent() -> None:
    found = rows(
        {
            "pickup.zone": pa.array([7, None], pa.int32()),
            "pickup.lat": pa.array([None, 40.5]),
            "dropoff": pa.array([{"zone": 3, "lat": None}, None]),
            "tags": pa.array([["a", 'b"'], []]),
        }
    )
    assert found == [
        {"pickup": {"zone": 7}, "dropoff": {"zone": 3}, "tags": ["a", 'b"']},
        {"pickup": {"lat": 40.5}, "tags": []},
    ]


def test_a_column_named_type_says_what_a_row_is() -> None:
    assert rows({"type": ["b"]}, "a") == [{"type": "b"}]


def test_other_kinds_of_columns() -> None:
    found = rows(
        {
            "payment": pa.array(["card"], pa.string()).dictionary_encode(),
            "text": pa.array(["x"], pa.large_string()),
            "flag": pa.array([True]),
            "passengers": pa.array([2.0]),  # what became a float because other rows have none
            "lon": pa.array([-73.9], pa.float32()),
            "day": pa.array([date(2023, 2, 14)]),
            "nothing": pa.array([None], pa.null()),
            "lat": pa.array([float("nan")]),
        }
    )
    exact = pa.array([-73.9], pa.float32())[0].as_py()
    expected = {
        "payment": "card",
        "text": "x",
        "flag": True,
        "passengers": 2,
        "lon": exact,
        "day": "2023-02-14",
        "lat": None,
    }
    assert found == [expected]


def test_no_rows_at_all() -> None:
    assert rows({"at": pa.array([], pa.timestamp("us", "UTC")), "user_id": pa.array([], pa.string())}, "t") == []


def test_many_large_rows_are_taken_a_part_at_a_time() -> None:
    texts = [f"{number}{'x' * 400_000}" for number in range(300)]
    assert [row["text"] for row in rows({"text": texts})] == texts


def test_the_last_moment_of_a_day() -> None:
    at = datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    found = rows({"at": pa.array([at, at + timedelta(microseconds=1)], pa.timestamp("us", "UTC"))})
    assert [row["at"] for row in found] == ["1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00.000000Z"]
