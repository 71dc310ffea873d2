"""`training.data.tlc`: raw months hold all sorts of rows; only plausible trips come out, as events somebody could send."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data import tlc

GOOD = {
    "lpep_pickup_datetime": datetime(2023, 2, 3, 12, 0),  # noqa: DTZ001  # the TLC's files show New York's clock
    "lpep_dropoff_datetime": datetime(2023, 2, 3, 12, 15),  # noqa: DTZ001
    "PULocationID": "74",
    "DOLocationID": "75",
    "passenger_count": 2.0,
    "payment_type": 1.0,
    "trip_distance": 2.0,
    "fare_amount": 12.5,
    "tip_amount": 3.0,
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_trip_comes_out_in_our_units(tmp_path: Path) -> None:
    trips = tlc.read(write(tmp_path / "green_tripdata_2023-02.parquet", [GOOD]))
    assert trips.pickup_s.tolist() == [datetime(2023, 2, 3, 17, tzinfo=UTC).timestamp()]
    assert trips.duration_min.tolist() == [15]
    assert trips.distance_km.tolist() == pytest.approx([3.218688])
    (request,) = trips.requests()
    assert (request.pickup.zone, request.dropoff.zone, request.passengers, request.payment) == (74, 75, 2, "card")
    assert request.at == datetime(2023, 2, 3, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    "flaw",
    [
        {"lpep_pickup_datetime": datetime(2008, 12, 31), "lpep_dropoff_datetime": datetime(2008, 12, 31, 0, 9)},  # noqa: DTZ001
        {"lpep_dropoff_datetime": datetime(2023, 2, 3, 11, 50)},  # noqa: DTZ001
        {"lpep_dropoff_datetime": datetime(2023, 2, 3, 12, 0, 30)},  # noqa: DTZ001
        {"lpep_dropoff_datetime": datetime(2023, 2, 4, 11, 59)},  # noqa: DTZ001
        {"PULocationID": "999"},
        {"DOLocationID": None},
    ],
    ids=["2008", "ends before it begins", "half a minute", "a day", "no such zone", "zone missing"],
)
def test_an_implausible_trip_does_not(tmp_path: Path, flaw: dict[str, Any]) -> None:
    path = write(tmp_path / "green_tripdata_2023-02.parquet", [GOOD, {**GOOD, **flaw}])
    assert len(tlc.read(path)) == 1


def test_missing_passengers_and_payment_are_no_flaw(tmp_path: Path) -> None:
    row = {**GOOD, "passenger_count": None, "payment_type": None}
    trips = tlc.read(write(tmp_path / "green_tripdata_2023-02.parquet", [GOOD, row, {**GOOD, "passenger_count": 0.0}]))
    assert trips.passengers.tolist() == [2, 1, 1]
    assert trips.payment.tolist() == [1, 0, 1]


def test_trips_come_in_order_of_pickup(tmp_path: Path) -> None:
    later = {
        **GOOD,
        "lpep_pickup_datetime": datetime(2023, 2, 3, 12, 10),  # noqa: DTZ001
        "PULocationID": "7",
    }
    trips = tlc.read(write(tmp_path / "green_tripdata_2023-02.parquet", [later, GOOD]))
    assert trips.pickup.tolist() == [74, 7]


def test_yellow_months_read_alike(tmp_path: Path) -> None:
    yellow = {name.replace("lpep", "tpep"): value for name, value in GOOD.items()}
    assert len(tlc.read(write(tmp_path / "yellow_tripdata_2023-02.parquet", [yellow]))) == 1


def test_real_months_are_cut_to_one_to_sixty_minutes(datasets: Path) -> None:
    trips = tlc.read(datasets / "rides" / "green_tripdata_2023-01.parquet")
    assert len(trips) > 60_000
    assert trips.duration_min.min() >= 1
    assert trips.duration_min.max() <= 60
