"""A small model of New York's taxis: how far, how fast, from where to where, for how much.

Used by `trips`; no data set is needed at run time. The constants are statistics of the TLC's green trips of February 2023
(64,809 trips, of 1 to 60 minutes and 0.3 to 30 miles) unless they name another source.
"""

import math
from datetime import datetime
from functools import cache
from random import Random
from typing import NamedTuple

from agents import _places
from agents._calendar import NEW_YORK

KM_PER_MILE = 1.609344

# Per mille of the pick-ups of the 40 busiest zones, 93 % of all; the others share the rest.
PICKUPS = {74: 183, 75: 136, 166: 65, 41: 62, 95: 55, 82: 42, 43: 40, 97: 31, 42: 29, 244: 28, 7: 24, 65: 23, 130: 21,
           260: 21, 129: 18, 134: 13, 116: 11, 33: 10, 92: 10, 66: 9, 196: 8, 25: 7, 83: 7, 24: 7, 223: 7, 152: 7, 236: 6,
           193: 6, 181: 5, 226: 5, 210: 4, 179: 4, 255: 4, 61: 4, 55: 3, 52: 3, 80: 3, 243: 3, 112: 3, 49: 2}  # fmt: skip
DROPOFFS = {74: 50, 75: 49, 41: 39, 236: 39, 42: 35, 238: 35, 166: 34, 263: 23, 95: 22, 151: 21, 239: 21, 138: 21, 129: 18,
            43: 17, 237: 16, 7: 15, 262: 15, 116: 14, 82: 14, 244: 13, 142: 12, 152: 12, 141: 12, 140: 10, 223: 10, 132: 9,
            24: 9, 49: 9, 226: 9, 181: 8, 260: 8, 97: 8, 61: 7, 134: 7, 161: 7, 196: 7, 243: 7, 179: 6, 130: 6}  # fmt: skip
ELSEWHERE = 0.4
"""Per mille of any zone that is not in the table."""

# Median speed of the hour over the median of the day (17.2 km/h).
PACE_BY_HOUR = (1.22, 1.24, 1.28, 1.28, 1.41, 1.47, 1.31, 1.03, 0.94, 1.0, 1.04, 1.0,
                0.99, 0.97, 0.92, 0.9, 0.9, 0.92, 0.96, 1.03, 1.1, 1.14, 1.16, 1.18)  # fmt: skip

# log(km/h) = log(12.4) + 0.30 log(km), residual 0.33: a longer trip takes faster roads.
KMH_OF_FIRST_KM, SPEED_EXPONENT, SPEED_SPREAD = 12.4, 0.30, 0.33

# The share of card riders who tip nothing, and what the others give of fare and fees (the meter offers 20, 25, 30 %).
NO_TIP, TIP_MEAN, TIP_SPREAD = 0.13, 0.20, 0.05


class Point(NamedTuple):
    """Degrees, WGS 84."""

    lat: float
    lon: float


@cache
def centroids() -> dict[int, Point]:
    """The middle of each taxi zone that has a shape, from the table the ride agents ship with."""
    lon, lat = _places.centroids()
    places = {zone: Point(float(lat[zone]), float(lon[zone])) for zone in range(1, len(lon))}
    return {zone: point for zone, point in places.items() if not math.isnan(point.lat)}


def distance_km(a: Point, b: Point) -> float:
    """Great-circle distance (haversine), kilometres.

    >>> round(distance_km(Point(40.7128, -74.0060), Point(40.6413, -73.7781)), 1)  # City Hall to JFK
    20.8
    """
    lat_a, lat_b = math.radians(a.lat), math.radians(b.lat)
    chord = math.sin((lat_b - lat_a) / 2) ** 2
    chord += math.cos(lat_a) * math.cos(lat_b) * math.sin(math.radians(b.lon - a.lon) / 2) ** 2
    return 2 * 6371.0 * math.asin(math.sqrt(min(1.0, chord)))


def corner(a: Point, b: Point) -> Point:
    """Where a drive from a to b along Manhattan's grid, which lies 29 degrees east of north, turns once."""
    stretch = math.cos(math.radians(a.lat))
    north, east = b.lat - a.lat, (b.lon - a.lon) * stretch
    avenue = (math.cos(math.radians(29)), math.sin(math.radians(29)))
    along = north * avenue[0] + east * avenue[1]
    return Point(a.lat + along * avenue[0], a.lon + along * avenue[1] / stretch)


def cruising_kmh(trip_km: float, at: datetime, rng: Random) -> float:
    """The average speed of a trip of this length at this hour, with the scatter of real ones."""
    typical: float = KMH_OF_FIRST_KM * max(trip_km, 0.5) ** SPEED_EXPONENT
    scatter = math.exp(rng.gauss(0.0, SPEED_SPREAD))
    return min(90.0, max(4.0, typical * PACE_BY_HOUR[at.astimezone(NEW_YORK).hour] * scatter))


class Meter:
    """A New York taximeter since 19 December 2022: $3.00, and 70 cents per fifth of a mile above 12 mph, per minute below.

    At 12 mph both rates are the same, so the meter runs by whichever is more. Surcharges are not part of `fare_amount`.
    Source: NYC TLC, Taxi Fare, https://www.nyc.gov/site/tlc/passengers/taxi-fare.page

    >>> meter = Meter(); meter.run(km=2 * KM_PER_MILE, minutes=4); meter.run(km=0.0, minutes=3); meter.fare_usd
    12.1
    """

    def __init__(self) -> None:
        self._units = 0.0

    def run(self, km: float, minutes: float) -> None:
        self._units += max(km / (KM_PER_MILE / 5), minutes)

    @property
    def fare_usd(self) -> float:
        return round(3.0 + 0.7 * math.floor(self._units + 1e-9), 2)


def tip_usd(fare_usd: float, rng: Random) -> float:
    """What a card rider tips on a fare and its usual 2.50 of fees."""
    if rng.random() < NO_TIP:
        return 0.0
    return round(max(0.05, rng.gauss(TIP_MEAN, TIP_SPREAD)) * (fare_usd + 2.5), 2)


@cache
def _reach(pickup: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Where rides from a zone go: popularity, falling with the distance on a scale of 3.5 km (median trip: 2.8 km)."""
    places = centroids()
    zones = tuple(places)
    here = places[pickup]
    weights = (DROPOFFS.get(zone, ELSEWHERE) * math.exp(-distance_km(here, places[zone]) / 3.5) for zone in zones)
    return zones, tuple(weights)


def pick_zones(rng: Random) -> tuple[int, int]:
    """Pick-up and drop-off zone of one ride, by realistic popularity."""
    zones = tuple(centroids())
    pickup = rng.choices(zones, [PICKUPS.get(zone, ELSEWHERE) for zone in zones])[0]
    reachable, weights = _reach(pickup)
    return pickup, rng.choices(reachable, weights)[0]
