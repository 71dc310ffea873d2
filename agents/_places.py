"""Where a ride begins and ends, for a whole batch at once: zones and points brought to one form.

The zone table `_zones.csv` (centroids, derived from the TLC's shapes) is written by `training.data.zones`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.events import Place, RideRequested

Floats = NDArray[np.float64]
KM_PER_DEGREE = 111.195  # of a great circle, mean Earth radius 6371.009 km
ZONES = 266  # ids are 1-265; 0 stands for "in none"
IS_AIRPORT = np.isin(np.arange(ZONES), (1, 132, 138))  # Newark, JFK, LaGuardia
# The widest zone reaches 8 km from its centroid (Jamaica Bay); a point further from every one is not in the city.
REACH_KM = 8.0
_CHUNK = 4096


@dataclass(frozen=True)
class Located:
    """n places; `zone` is 0 outside the city, `lon` and `lat` are NaN for a zone without a shape (264, 265)."""

    zone: NDArray[np.int64]
    lon: Floats
    lat: Floats

    def part(self, rows: slice) -> "Located":
        return Located(self.zone[rows], self.lon[rows], self.lat[rows])


@lru_cache(maxsize=1)
def centroids() -> tuple[Floats, Floats]:
    """Longitude and latitude of each zone's centroid, (266,), NaN where a zone has none."""
    table = np.genfromtxt(Path(__file__).with_name("_zones.csv"), delimiter=",", names=True)
    lon, lat = np.full(ZONES, np.nan), np.full(ZONES, np.nan)
    zone = table["zone"].astype(np.int64)
    lon[zone], lat[zone] = table["lon"], table["lat"]
    return lon, lat


def ends(batch: Sequence[RideRequested]) -> tuple[Located, Located]:
    """Where each ride begins, and where it ends."""
    both = locate([*(event.pickup for event in batch), *(event.dropoff for event in batch)])
    return both.part(slice(len(batch))), both.part(slice(len(batch), None))


def locate(places: Sequence[Place]) -> Located:
    """Zones get their centroid, points the zone whose centroid is nearest."""
    zone = np.array([place.zone or 0 for place in places], np.int64)
    lon, lat = (table[zone] for table in centroids())
    points = np.flatnonzero(zone == 0)
    if len(points):
        given = [places[row] for row in points.tolist()]
        lon[points] = np.array([place.lon for place in given])
        lat[points] = np.array([place.lat for place in given])
        zone[points] = nearest(lon[points], lat[points])
    return Located(zone, lon, lat)


def nearest(lon: Floats, lat: Floats) -> NDArray[np.int64]:
    """The zone whose centroid is nearest to each point; 0 where none is within `REACH_KM`."""
    zone_lon, zone_lat = centroids()
    found = np.zeros(len(lon), np.int64)
    for start in range(0, len(lon), _CHUNK):
        part = slice(start, start + _CHUNK)
        away = distance_km(lon[part, None], lat[part, None], zone_lon, zone_lat)
        away[np.isnan(away)] = np.inf
        best = away.argmin(axis=1)
        reached = away[np.arange(len(best)), best] <= REACH_KM
        found[part] = np.where(reached, best, 0)
    return found


def offset_km(lon_a: Floats, lat_a: Floats, lon_b: Floats, lat_b: Floats) -> tuple[Floats, Floats]:
    """How far b lies east and north of a, km, on the plane that touches the Earth between them.

    Good to 0.1 % over the distances a taxi goes; on them it is also cheaper than the haversine.
    """
    east = (lon_b - lon_a) * np.cos(np.radians((lat_a + lat_b) / 2)) * KM_PER_DEGREE
    north = (lat_b - lat_a) * KM_PER_DEGREE
    return east, north


def distance_km(lon_a: Floats, lat_a: Floats, lon_b: Floats, lat_b: Floats) -> Floats:
    """As the crow flies, km."""
    east, north = offset_km(lon_a, lat_a, lon_b, lat_b)
    return np.sqrt(east * east + north * north)
