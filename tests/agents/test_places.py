"""`agents._places`: zones and points brought to one form."""

import numpy as np
import pytest

from agents._places import ZONES, centroids, distance_km, locate, nearest
from app.events import Place


def test_a_zones_own_centroid_lies_in_it() -> None:
    lon, lat = centroids()
    zones = np.flatnonzero(~np.isnan(lon))
    found = nearest(lon[zones], lat[zones])
    # A few zones were drawn in several pieces and share a centroid.
    assert (found == zones).mean() > 0.98
    assert len(zones) > 250


@pytest.mark.parametrize(
    ("lat", "lon", "zone"), [(40.6413, -73.7781, 132), (40.7769, -73.8740, 138), (40.7580, -73.9855, 230)]
)
def test_places_everybody_knows(lat: float, lon: float, zone: int) -> None:
    assert locate([Place(lat=lat, lon=lon)]).zone.tolist() == [zone]


@pytest.mark.parametrize(("lat", "lon"), [(30.66, 104.07), (0, 0), (90, 180), (41.5, -73.9)])
def test_a_point_outside_the_city_is_in_no_zone_and_stays_where_it_is(lat: float, lon: float) -> None:
    located = locate([Place(lat=lat, lon=lon)])
    assert located.zone.tolist() == [0]
    assert (located.lon.tolist(), located.lat.tolist()) == ([lon], [lat])


def test_every_zone_id_is_taken_and_one_without_a_shape_has_no_place() -> None:
    located = locate([Place(zone=zone) for zone in range(1, ZONES)])
    assert located.zone.tolist() == list(range(1, ZONES))
    assert np.isnan(located.lon[[263, 264]]).all()


def test_distance_is_near_the_haversine() -> None:
    a, b = np.radians([40.6413, -73.7781]), np.radians([40.7769, -73.9740])
    half = np.sin((b - a) / 2) ** 2
    haversine = 2 * 6371.009 * np.arcsin(np.sqrt(half[0] + np.cos(a[0]) * np.cos(b[0]) * half[1]))
    one, two = np.degrees(a), np.degrees(b)
    ours = distance_km(*(np.array([x]) for x in (one[1], one[0], two[1], two[0])))
    assert ours[0] == pytest.approx(haversine, rel=1e-3)
