"""`eta`: a way from the pickup to the drop-off, and a time for it."""

from datetime import UTC, datetime

import pytest

from agents.eta import ZoneGraph, eta, load
from app.events import Place, RideRequested
from app.registry import Registry, shipped_root

NOON = datetime(2023, 2, 14, 17, tzinfo=UTC)
ASTORIA, JFK, NEWARK = Place(zone=7), Place(zone=132), Place(zone=1)
SHANGHAI, SUZHOU = Place(lat=31.23, lon=121.47), Place(lat=31.30, lon=120.58)


@pytest.fixture(scope="module")
def model() -> ZoneGraph:
    return load(Registry(shipped_root()).load("eta"))


def answer(
    model: ZoneGraph, pickup: Place, dropoff: Place, at: datetime = NOON
) -> tuple[float, list[list[float]], float]:
    event = RideRequested(event_id="e", user_id="u", ride_id="r", at=at, pickup=pickup, dropoff=dropoff)
    scores = eta.score(model, [event])
    detail = scores.details[0]
    assert detail is not None
    track, distance = detail["track"], detail["distance_km"]
    assert isinstance(track, list)
    assert isinstance(distance, float)
    return float(scores.values[0]), track, distance


def test_the_track_leads_over_zones_from_pickup_to_dropoff(model: ZoneGraph) -> None:
    minutes, track, distance = answer(model, ASTORIA, JFK)
    assert 4 <= len(track) <= 40
    assert track[0] == pytest.approx([-73.92, 40.76], abs=0.02)
    assert track[-1] == pytest.approx([-73.79, 40.65], abs=0.02)
    assert 15 < distance < 30
    assert 20 < minutes < 60


def test_points_are_the_ends_of_the_track(model: ZoneGraph) -> None:
    _, track, _ = answer(model, Place(lat=40.81, lon=-73.95), Place(lat=40.65, lon=-73.95))
    assert (track[0], track[-1]) == ([-73.95, 40.81], [-73.95, 40.65])
    assert len(track) > 4


def test_the_way_within_a_zone_is_a_line_between_its_points(model: ZoneGraph) -> None:
    _, track, distance = answer(model, Place(lat=40.762, lon=-73.920), Place(lat=40.763, lon=-73.921))
    assert len(track) == 2
    assert distance < 0.3


def test_further_takes_longer(model: ZoneGraph) -> None:
    assert answer(model, ASTORIA, ASTORIA)[0] < answer(model, ASTORIA, JFK)[0] < answer(model, NEWARK, JFK)[0]


def test_rush_hour_takes_longer_than_the_night(model: ZoneGraph) -> None:
    night, evening = (datetime(2023, 2, 14, hour, tzinfo=UTC) for hour in (9, 22))
    assert answer(model, ASTORIA, JFK, night)[0] < answer(model, ASTORIA, JFK, evening)[0]


def test_outside_the_city_it_goes_by_distance(model: ZoneGraph) -> None:
    minutes, track, distance = answer(model, SHANGHAI, SUZHOU)
    assert len(track) == 2
    assert distance == pytest.approx(85, abs=2)
    assert 60 < minutes < 500


def test_a_zone_without_a_shape_has_a_time_and_no_track(model: ZoneGraph) -> None:
    minutes, track, distance = answer(model, Place(zone=264), JFK)
    assert (track, distance) == ([], 0.0)
    assert 3 < minutes < 60
