from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.codec import Decoder, encode
from app.events import AnyRide, RideCancelled, RideCompleted, RidePositioned, RideRequested, RideStarted
from simulator.city import KM_PER_MILE, Meter, Point, centroids, corner, distance_km
from simulator.trips import TripMaker

MONDAY = datetime(2026, 3, 2, 14, tzinfo=UTC)
decoder: Decoder[AnyRide] = Decoder(AnyRide)
make = TripMaker("test", every=timedelta(seconds=30))


def life(number: int, seed: int = 0) -> list[AnyRide]:
    return list(make(number, MONDAY, Random(f"{seed}/{number}")))


@pytest.fixture(scope="module")
def many() -> list[list[AnyRide]]:
    return [life(number) for number in range(600)]


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_ride_is_told_in_order_and_every_event_is_valid(number: int, seed: int) -> None:
    events = life(number, seed)
    assert all(a.at <= b.at for a, b in pairwise(events))
    assert isinstance(events[0], RideRequested)
    assert len({event.event_id for event in events}) == len(events)
    assert {event.subject_id for event in events} == {f"r-test-{number}"}
    assert [decoder.decode(encode(event)) for event in events] == events
    if not isinstance(events[-1], RideCancelled):
        assert isinstance(events[1], RideStarted)
        assert all(isinstance(event, RidePositioned) for event in events[2:-1])
    else:
        assert len(events) == 2


def test_the_outcome_agrees_with_what_was_driven(many: list[list[AnyRide]]) -> None:
    completed = 0
    for events in many:
        end, start = events[-1], events[1] if len(events) > 1 else None
        if isinstance(end, RideCompleted) and start is not None:
            completed += 1
            last = events[-2]
            assert isinstance(last, RidePositioned)
            assert end.duration_min == pytest.approx((end.at - start.at).total_seconds() / 60, abs=0.001)
            assert end.distance_km == last.travelled_km
            assert end.fare_usd >= 3.0 + 0.7 * int((end.distance_km or 0) / (KM_PER_MILE / 5))
    assert completed > 500


def test_positions_lead_from_pickup_to_dropoff_and_the_meter_never_runs_back(many: list[list[AnyRide]]) -> None:
    for events in many[:100]:
        positions = [event for event in events if isinstance(event, RidePositioned)]
        assert all((a.travelled_km or 0) <= (b.travelled_km or 0) for a, b in pairwise(positions))
        request = events[0]
        if isinstance(events[-1], RideCompleted) and isinstance(request, RideRequested) and request.dropoff.lat:
            there = Point(request.dropoff.lat, request.dropoff.lon or 0)
            assert distance_km(Point(positions[-1].lat, positions[-1].lon), there) < 0.1


def test_the_city_looks_like_new_york(many: list[list[AnyRide]]) -> None:
    """Green trips of February 2023: median 11.7 min, $13.5, 3 km; one in 20 comes to nothing."""
    ends = [events[-1] for events in many]
    done = [end for end in ends if isinstance(end, RideCompleted)]
    assert 8 < median(end.duration_min for end in done) < 16
    assert 9 < median(end.fare_usd for end in done) < 18
    assert 0.01 < sum(isinstance(end, RideCancelled) for end in ends) / len(ends) < 0.10
    assert any(isinstance(end, RidePositioned) for end in ends)  # some never report their end
    requests = [events[0] for events in many if isinstance(events[0], RideRequested)]
    assert 0.15 < sum(request.pickup.zone is None for request in requests) / len(requests) < 0.35


def test_the_same_ride_is_made_again_from_its_number() -> None:
    assert life(5) == life(5)
    assert life(5) != life(6)


def test_the_meter_charges_distance_or_time_whichever_is_more() -> None:
    parked, driven = Meter(), Meter()
    parked.run(km=0.0, minutes=10.0)
    driven.run(km=2 * KM_PER_MILE, minutes=1.0)
    assert (parked.fare_usd, driven.fare_usd) == (10.0, 10.0)


@given(st.sampled_from(sorted(centroids())), st.sampled_from(sorted(centroids())))
def test_the_way_round_the_corner_is_a_detour_along_the_grid(a: int, b: int) -> None:
    start, end = centroids()[a], centroids()[b]
    way = distance_km(start, corner(start, end)) + distance_km(corner(start, end), end)
    assert distance_km(start, end) * 0.99 <= way <= distance_km(start, end) * 1.43
