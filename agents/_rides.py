"""The open rides of one partition: what `duration` remembers between a ride's request and its end."""

import math
import zlib
from typing import Self

import numpy as np

from app.events import RidePositioned

CAPACITY = 10_000
"""Open rides remembered of one partition. Beyond it the one that was silent longest is forgotten: rides that never end
(a lost event) must not pile up. Not by event time: a single event dated in the future would then evict all others.
A full snapshot stays under the 1 MB that Kafka takes by default (tests/agents/test_duration.py)."""

TRIP = 9  # numbers known at the request: zones, places, instant, passengers, whether the drop-off is a point
_STARTED, _AT, _LON, _LAT, _KM, _KMH = range(TRIP, TRIP + 6)
WIDTH = TRIP + 6
_UNSTARTED = (math.nan,) * 4 + (0.0, math.nan)
SPEED_MEMORY_S = 120.0  # over which the recent speed is averaged: a long red light in a city

_DROPOFF_LON, _DROPOFF_LAT, _PICKUP_LON, _PICKUP_LAT = 4, 5, 2, 3
_KM_PER_DEGREE = 111.195


class OpenRides:
    """Ride id -> what is known of it, the one that was silent longest first."""

    def __init__(self) -> None:
        self._rides: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(self._rides)

    def open(self, ride_id: str, trip: list[float]) -> None:
        """A ride was requested; a second request of a ride that is open changes nothing."""
        if ride_id in self._rides:
            return
        self._rides[ride_id] = [*trip, *_UNSTARTED]
        if len(self._rides) > CAPACITY:
            del self._rides[next(iter(self._rides))]

    def start(self, ride_id: str, at_s: float) -> None:
        """The passenger is in the car; of an unknown ride, nothing is kept."""
        ride = self._touch(ride_id)
        if ride is not None:
            ride[_STARTED] = at_s

    def close(self, ride_id: str) -> None:
        """The ride ended, one way or the other."""
        self._rides.pop(ride_id, None)

    def move(self, event: RidePositioned) -> tuple[list[float], tuple[float, ...]] | None:
        """Follow the car: the trip as requested, and the six numbers of `agents._enroute.RAW`; `None` if unknown."""
        ride = self._touch(event.ride_id)
        if ride is None:
            return None
        at_s = event.at.timestamp()
        if math.isnan(ride[_STARTED]):
            ride[_STARTED] = at_s  # nobody said it started: the first position does
        self._advance(ride, event, at_s)
        remaining = _distance_km(event.lon, event.lat, ride[_DROPOFF_LON], ride[_DROPOFF_LAT])
        direct = _distance_km(ride[_PICKUP_LON], ride[_PICKUP_LAT], ride[_DROPOFF_LON], ride[_DROPOFF_LAT])
        elapsed = max(at_s - ride[_STARTED], 0.0) / 60
        return ride[:TRIP], (elapsed, ride[_KM], remaining, direct, ride[_KMH], ride[TRIP - 1])

    def dump(self) -> bytes:
        """The ids, then their numbers, compressed; ids hold no newline (`app.events.Id`)."""
        ids = "\n".join(self._rides).encode()
        numbers = np.array(list(self._rides.values()), dtype="<f8").tobytes()
        return zlib.compress(len(ids).to_bytes(4, "little") + ids + numbers, 1)

    @classmethod
    def restore(cls, snapshot: bytes) -> Self:
        """The rides as they were at the dump, in the same order."""
        raw = zlib.decompress(snapshot)
        end = 4 + int.from_bytes(raw[:4], "little")
        rides = cls()
        if end > 4:
            numbers = np.frombuffer(raw[end:], dtype="<f8").reshape(-1, WIDTH).tolist()
            rides._rides = dict(zip(raw[4:end].decode().split("\n"), numbers, strict=True))
        return rides

    def _touch(self, ride_id: str) -> list[float] | None:
        ride = self._rides.pop(ride_id, None)
        if ride is not None:
            self._rides[ride_id] = ride
        return ride

    @staticmethod
    def _advance(ride: list[float], event: RidePositioned, at_s: float) -> None:
        """Distance and recent speed; a position that comes late, or again, moves neither."""
        before = ride[_KM]
        since_s = at_s - ride[_AT] if not math.isnan(ride[_AT]) else at_s - ride[_STARTED]
        if since_s < 0:
            return
        if event.travelled_km is not None:
            ride[_KM] = max(before, event.travelled_km)
        elif not math.isnan(ride[_AT]):
            ride[_KM] = before + _distance_km(ride[_LON], ride[_LAT], event.lon, event.lat)
        if since_s > 0:
            speed = (ride[_KM] - before) / since_s * 3600
            share = 1.0 if math.isnan(ride[_KMH]) else 1 - math.exp(-since_s / SPEED_MEMORY_S)
            ride[_KMH] = speed if share == 1.0 else ride[_KMH] + share * (speed - ride[_KMH])
        ride[_AT], ride[_LON], ride[_LAT] = at_s, event.lon, event.lat


def _distance_km(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """As `agents._places.distance_km`, for one pair."""
    east = (lon_b - lon_a) * math.cos(math.radians((lat_a + lat_b) / 2))
    return math.hypot(east, lat_b - lat_a) * _KM_PER_DEGREE
