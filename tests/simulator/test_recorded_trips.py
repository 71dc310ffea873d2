from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.codec import encode
from app.errors import ConfigurationError
from app.events import RideCompleted, RideRequested
from simulator.recorded_trips import RecordedTrips

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NOON = datetime.fromisoformat("2023-02-14T12:00")  # the TLC writes no offsets
LONG_AGO = datetime.fromisoformat("2008-12-31T00:00")
GOOD: dict[str, object] = {
    "pickup": NOON,
    "dropoff": NOON + timedelta(minutes=12),
    "PULocationID": 74,
    "DOLocationID": 75,
    "passenger_count": 1.0,
    "trip_distance": 2.0,
    "fare_amount": 11.4,
    "tip_amount": 2.5,
    "payment_type": 1.0,
}


def write(path: Path, *rows: dict[str, object], kind: str = "lpep") -> Path:
    table = pa.Table.from_pylist([{**GOOD, **row} for row in rows])
    names = {"pickup": f"{kind}_pickup_datetime", "dropoff": f"{kind}_dropoff_datetime"}
    pq.write_table(table.rename_columns([names.get(name, name) for name in table.column_names]), path)
    return path


def test_a_trip_is_requested_started_and_completed_as_it_was(tmp_path: Path) -> None:
    (life,) = RecordedTrips(write(tmp_path / "t.parquet", {}), "x").lives()
    request, started, completed = life
    assert isinstance(request, RideRequested)
    assert isinstance(completed, RideCompleted)
    assert (request.pickup.zone, request.dropoff.zone, request.payment) == (74, 75, "card")
    assert request.at.isoformat() == "2023-02-14T12:00:00-05:00"  # the TLC writes New York's wall clock
    assert started.at == request.at
    assert (completed.at - request.at, completed.duration_min) == (timedelta(minutes=12), 12.0)
    assert (completed.fare_usd, completed.tip_usd) == (11.4, 2.5)
    assert completed.distance_km == pytest.approx(3.2187, abs=1e-3)
    assert all(encode(event) for event in life)


DEFECTS = [
    ({"fare_amount": -5.0}, "with a fare that is not positive"),
    ({"fare_amount": None}, "with a fare that is not positive"),
    ({"pickup": LONG_AGO, "dropoff": LONG_AGO + timedelta(minutes=9)}, "dated outside February 2023"),
    ({"dropoff": NOON + timedelta(seconds=40)}, "shorter than 1 or longer than 60 minutes"),
    ({"dropoff": NOON + timedelta(hours=23)}, "shorter than 1 or longer than 60 minutes"),
    ({"dropoff": NOON - timedelta(minutes=5)}, "shorter than 1 or longer than 60 minutes"),
    ({"dropoff": None}, "without a pick-up or drop-off time"),
    ({"PULocationID": 0}, "without a known zone"),
    ({"DOLocationID": None}, "without a known zone"),
]


@pytest.mark.parametrize(("defect", "reason"), DEFECTS)
def test_a_defective_row_is_skipped_and_counted(tmp_path: Path, defect: dict[str, object], reason: str) -> None:
    trips = RecordedTrips(write(tmp_path / "t.parquet", {}, defect, {}), "x")
    assert len(list(trips.lives())) == 2
    assert trips.skipped == {reason: 1}


def test_nulls_text_ids_and_nonsense_where_a_trip_can_do_without(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        {"PULocationID": "43", "DOLocationID": "151", "passenger_count": None, "payment_type": None},
        {"PULocationID": "43", "DOLocationID": "151", "passenger_count": 0.0, "trip_distance": 99_999.0},
        kind="tpep",
    )
    (first, *_, first_end), (second, *_, second_end) = RecordedTrips(path, "x").lives()
    assert isinstance(first, RideRequested)
    assert isinstance(second, RideRequested)
    assert (first.passengers, second.passengers) == (1, 1)
    assert isinstance(first_end, RideCompleted)
    assert isinstance(second_end, RideCompleted)
    assert first_end.tip_usd is None  # only card tips are recorded
    assert second_end.distance_km is None


def test_trips_come_in_order_of_their_pickup(tmp_path: Path) -> None:
    hours = [{"pickup": NOON + timedelta(hours=h), "dropoff": NOON + timedelta(hours=h, minutes=5)} for h in (3, 1, 2)]
    lives = list(RecordedTrips(write(tmp_path / "t.parquet", *hours), "x").lives())
    assert [life[0].at.hour for life in lives] == [13, 14, 15]


def test_what_is_no_trip_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    text, other = tmp_path / "text.parquet", tmp_path / "other.parquet"
    text.write_text("hello")
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(ConfigurationError, match="there is no such file"):
        RecordedTrips(tmp_path / "none.parquet", "x")
    with pytest.raises(ConfigurationError, match="not a readable parquet file"):
        RecordedTrips(text, "x")
    with pytest.raises(ConfigurationError, match=r"it has no column .*is it a TLC trip file"):
        RecordedTrips(other, "x")
    with pytest.raises(ConfigurationError, match="it holds no trips"):
        RecordedTrips(write(tmp_path / "null.parquet", {"pickup": None, "dropoff": NOON}, {"pickup": None}), "x")


def test_the_month_of_the_reference_results(datasets: Path) -> None:
    trips = RecordedTrips(datasets / "rides" / "green_tripdata_2023-02.parquet", "x")
    assert len(list(trips.lives())) == len(trips) - trips.skipped.total() == 62_436
