"""`duration`: the first figure, its corrections, and what it remembers in between."""

import math
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from agents import _rides
from agents._rides import OpenRides
from agents.duration import Duration, duration, load
from app.agent import Scores
from app.events import AnyRide, Place, RideCancelled, RideCompleted, RidePositioned, RideRequested, RideStarted
from app.registry import Registry, shipped_root

START = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
FROM, TO = (-73.95, 40.80), (-73.92, 40.76)


@pytest.fixture(scope="module")
def model() -> Duration:
    return load(Registry(shipped_root()).load("duration"))


def requested(ride: str = "r", at: datetime = START) -> RideRequested:
    pickup, dropoff = (Place(lon=lon, lat=lat) for lon, lat in (FROM, TO))
    return RideRequested(event_id=f"{ride}.0", user_id="u", ride_id=ride, at=at, pickup=pickup, dropoff=dropoff)


def started(ride: str = "r", at: datetime = START) -> RideStarted:
    return RideStarted(event_id=f"{ride}.1", user_id="u", ride_id=ride, at=at)


def positioned(share: float, minutes: float, ride: str = "r") -> RidePositioned:
    """On the straight line from pickup to drop-off, that share of the way, that long after the start."""
    lon, lat = (a + share * (b - a) for a, b in zip(FROM, TO, strict=True))
    at = START + timedelta(minutes=minutes)
    return RidePositioned(event_id=f"{ride}.{minutes}", user_id="u", ride_id=ride, at=at, lon=lon, lat=lat)


def drive(total_min: float, steps: int = 20) -> Iterator[AnyRide]:
    yield from (requested(), started())
    yield from (positioned(i / steps, total_min * i / steps) for i in range(steps))


@pytest.mark.parametrize("total_min", [8.0, 40.0])
def test_corrections_close_in_on_a_truth_nobody_expected(model: Duration, total_min: float) -> None:
    scores = duration.score(model, list(drive(total_min)), OpenRides())
    errors = [abs(value - total_min) for value in scores.values if not math.isnan(value)]
    assert errors[-1] < 0.1 * total_min
    assert sum(errors[-5:]) < sum(errors[:5]) / 3


def test_a_ride_that_goes_as_expected_is_corrected_little(model: Duration) -> None:
    expected = float(duration.score(model, [requested()], OpenRides()).values[0])
    scores = duration.score(model, list(drive(expected)), OpenRides())
    assert all(abs(value - expected) < 0.2 * expected for value in scores.values if not math.isnan(value))


def test_a_correction_says_what_remains_and_the_first_answer_does_not(model: Duration) -> None:
    scores = duration.score(model, list(drive(20)), OpenRides())
    assert scores.details[0] is None
    detail = scores.details[-1]
    assert detail is not None
    assert detail["remaining_min"] == pytest.approx(scores.values[-1] - 19, abs=0.01)


def test_a_traffic_jam_lengthens_the_ride(model: Duration) -> None:
    standing = [positioned(0.3, minutes) for minutes in (5, 10, 15, 20, 25)]
    scores = duration.score(model, [requested(), started(), positioned(0.1, 1), *standing], OpenRides())
    assert scores.values[-1] > 25
    assert (scores.values[4:] >= scores.values[3:-1]).all()


@pytest.mark.parametrize(
    "end",
    [
        RideCompleted(event_id="e", user_id="u", ride_id="r", at=START, duration_min=3, fare_usd=5),
        RideCancelled(event_id="e", user_id="u", ride_id="r", at=START),
    ],
)
def test_a_position_after_the_end_has_no_ride(model: Duration, end: AnyRide) -> None:
    scores = duration.score(model, [requested(), started(), end, positioned(0.5, 5)], OpenRides())
    assert scores.problems == {3: "a position of a ride that was never requested, or has ended"}


def test_a_position_of_an_unknown_ride_is_a_problem_of_its_row_alone(model: Duration) -> None:
    scores = duration.score(model, [requested(), positioned(0.1, 1, ride="other"), positioned(0.1, 1)], OpenRides())
    assert list(scores.problems) == [1]
    assert not math.isnan(scores.values[2])


def test_a_request_that_comes_twice_does_not_restart_the_ride(model: Duration) -> None:
    def last(events: list[AnyRide]) -> float:
        return float(duration.score(model, events, OpenRides()).values[-1])

    ride = [requested(), started(), positioned(0.2, 4)]
    assert last([*ride, requested(), positioned(0.5, 10)]) == last([*ride, positioned(0.5, 10)])


def test_positions_out_of_order_do_not_move_the_car_back() -> None:
    def state(events: list[AnyRide]) -> bytes:
        rides = OpenRides()
        duration.extract(events, rides)
        return rides.dump()

    ordered = [requested(), started(), positioned(0.2, 4), positioned(0.5, 10)]
    assert state([*ordered, positioned(0.3, 6)]) == state(ordered)


def test_without_a_meter_the_points_are_summed(model: Duration) -> None:
    rides = OpenRides()
    features = duration.extract(list(drive(20)), rides)
    travelled, direct = features[-1, -5], features[-1, -3]
    assert travelled == pytest.approx(0.95 * direct, rel=1e-3)


def test_an_event_from_the_future_evicts_nobody(model: Duration) -> None:
    poison = requested("poison", datetime(2999, 1, 1, tzinfo=UTC))
    scores = duration.score(model, [requested(), poison, started(), positioned(0.5, 5)], OpenRides())
    assert not scores.problems


def test_the_ride_that_was_silent_longest_is_forgotten_first() -> None:
    rides = OpenRides()
    for number in range(_rides.CAPACITY):
        rides.open(f"r{number}", [0.0] * _rides.TRIP)
    rides.start("r0", 0.0)
    rides.open("new", [0.0] * _rides.TRIP)
    assert len(rides) == _rides.CAPACITY
    assert rides.move(positioned(0.1, 1, ride="r0")) is not None
    assert rides.move(positioned(0.1, 1, ride="r1")) is None


def test_a_full_snapshot_fits_a_kafka_record() -> None:
    rng = random.Random(1)
    rides = OpenRides()
    batch: list[AnyRide] = []
    for _ in range(_rides.CAPACITY):
        ride = str(uuid.UUID(int=rng.getrandbits(128)))
        place = Place(zone=rng.randint(1, 263)), Place(lon=rng.uniform(-74, -73.8), lat=rng.uniform(40.6, 40.8))
        at = START + timedelta(seconds=rng.uniform(0, 3600))
        batch.append(RideRequested(event_id=ride, user_id="u", ride_id=ride, at=at, pickup=place[0], dropoff=place[1]))
        batch.append(
            RidePositioned(event_id=ride, user_id="u", ride_id=ride, at=at, lon=rng.random(), lat=rng.random())
        )
    duration.extract(batch, rides)
    assert len(rides.dump()) < 1_000_000


def test_scores_are_in_the_order_of_the_batch(model: Duration) -> None:
    rides = [requested(f"r{i}", START + timedelta(hours=i)) for i in range(24)]
    whole: Scores = duration.score(model, rides, OpenRides())
    backwards = duration.score(model, rides[::-1], OpenRides())
    assert whole.values.tolist() == backwards.values.tolist()[::-1]
