"""`duration`: the first figure, its corrections, and what it remembers in between."""

import math
import random
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from agents import _rides
from agents._enroute import RAW
from agents._rides import OpenRides
from agents.duration import ENROUTE, Duration, duration, load
from app.agent import Scores
from app.events import AnyRide, Place, RideCancelled, RideCompleted, RidePositioned, RideRequested, RideStarted
from app.registry import Registry, shipped_root

START = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
FROM, TO = (-73.95, 40.80), (-73.92, 40.76)


@pytest.fixture(scope="module")
def model() -> Duration:
    return load(Registry(shipped_root()).load("duration"))


def requested(ride: str = "r", at: datetime = START, route_km: float | None = None) -> RideRequested:
    pickup, dropoff = (Place(lon=lon, lat=lat) for lon, lat in (FROM, TO))
    return RideRequested(
        event_id=f"{ride}.0", user_id="u", ride_id=ride, at=at, pickup=pickup, dropoff=dropoff, route_km=route_km
    )


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
    assert errors[-1] < 0.15 * total_min  # real rides end more slowly than this straight line does
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
    last = dict(zip(RAW, duration.extract(list(drive(20)), rides)[-1, ENROUTE], strict=True))
    assert last["travelled_km"] == pytest.approx(0.95 * last["direct_km"], rel=1e-3)


def test_a_longer_route_lengthens_what_remains_and_not_the_first_answer(model: Duration) -> None:
    def scores(route_km: float | None) -> Scores:
        ride = [requested(route_km=route_km), started(), *(positioned(i / 10, 2 * i) for i in range(1, 6))]
        return duration.score(model, ride, OpenRides())

    straight, winding, untold = scores(5.2), scores(11.0), scores(None)
    assert winding.values[-1] > straight.values[-1] + 5
    assert straight.values[0] == winding.values[0] == untold.values[0]


def test_two_users_may_choose_the_same_ride_id(model: Duration) -> None:
    mine = list(drive(20))
    theirs = [msgspec.structs.replace(event, user_id="other") for event in drive(60)]
    apart = [duration.score(model, events, OpenRides()).values for events in (mine, theirs)]
    both = [event for pair in zip(mine, theirs, strict=True) for event in pair]
    mixed = duration.score(model, both, OpenRides()).values
    assert mixed.tolist()[0::2] == pytest.approx(apart[0].tolist(), abs=0, rel=0, nan_ok=True)
    assert mixed.tolist()[1::2] == pytest.approx(apart[1].tolist(), abs=0, rel=0, nan_ok=True)


def test_rides_that_come_and_go_leave_the_others_as_they_were() -> None:
    quiet, busy = OpenRides(), OpenRides()
    for rides in (quiet, busy):
        duration.extract([requested("mine", route_km=6.0), requested("waiting")], rides)
    for start in range(0, 20_000, 500):
        names = [f"r{number}" for number in range(start, start + 500)]
        ends = [RideCancelled(event_id=name, user_id="u", ride_id=name, at=START) for name in names]
        duration.extract(
            [event for name, end in zip(names, ends, strict=True) for event in (requested(name), end)], busy
        )
    seen = [duration.extract([positioned(0.3, 5, ride="mine")], rides) for rides in (quiet, busy)]
    np.testing.assert_array_equal(*seen)
    assert len(busy) == 2
    assert busy.dump() == quiet.dump()


def test_a_snapshot_of_another_release_is_begun_anew() -> None:
    assert len(OpenRides.restore(zlib.compress(b"\x00\x00\x00\x01r" + bytes(120)))) == 0


def test_an_event_from_the_future_evicts_nobody(model: Duration) -> None:
    poison = requested("poison", datetime(2199, 1, 1, tzinfo=UTC))
    scores = duration.score(model, [requested(), poison, started(), positioned(0.5, 5)], OpenRides())
    assert not scores.problems


def test_the_ride_that_was_silent_longest_is_forgotten_first() -> None:
    rides = OpenRides()
    duration.extract([requested(f"r{number}") for number in range(_rides.CAPACITY)], rides)
    duration.extract([started("r0"), requested("new")], rides)
    assert len(rides) == _rides.CAPACITY
    known = duration.extract([positioned(0.1, 1, ride="r0"), positioned(0.1, 1, ride="r1")], rides)
    assert np.isnan(known).all(axis=1).tolist() == [False, True]


def test_a_full_snapshot_is_a_megabyte() -> None:
    rng = random.Random(1)
    rides = OpenRides()
    batch: list[AnyRide] = []
    for _ in range(_rides.CAPACITY):
        ride, user = (str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(2))
        place = Place(zone=rng.randint(1, 263)), Place(lon=rng.uniform(-74, -73.8), lat=rng.uniform(40.6, 40.8))
        at = START + timedelta(seconds=rng.uniform(0, 3600))
        batch.append(
            RideRequested(
                event_id=ride, user_id=user, ride_id=ride, at=at, pickup=place[0], dropoff=place[1], route_km=5
            )
        )
        batch.append(
            RidePositioned(event_id=ride, user_id=user, ride_id=ride, at=at, lon=rng.random(), lat=rng.random())
        )
    duration.extract(batch, rides)
    assert len(zlib.compress(rides.dump(), 1)) < 1.1 * 2**20  # as app.modes.scoring.state delivers it


def test_scores_are_in_the_order_of_the_batch(model: Duration) -> None:
    rides = [requested(f"r{i}", START + timedelta(hours=i)) for i in range(24)]
    whole: Scores = duration.score(model, rides, OpenRides())
    backwards = duration.score(model, rides[::-1], OpenRides())
    assert whole.values.tolist() == backwards.values.tolist()[::-1]
