"""The open rides of one partition: what `duration` remembers between a ride's request and its end."""

import math
from collections import OrderedDict
from typing import Self

import numpy as np

from agents._calendar import Floats
from agents._places import KM_PER_DEGREE
from app.events import RidePositioned

Key = tuple[str, str]
"""User and ride: an id is its user's own, and two users may choose the same."""

CAPACITY = 10_000
"""Open rides remembered of one partition. Beyond it the one that was silent longest is forgotten: rides that never end
(a lost event) must not pile up. Not by event time: a single event dated in the future would then evict all others.
A full snapshot is 1 MB as it is delivered (tests/agents/test_duration.py), of the 16 that a state topic takes."""

TRIP = (
    10  # numbers known at the request: zones, places, instant, passengers, whether the drop-off is a point, the route
)
_PICKUP_LON, _PICKUP_LAT, _DROPOFF_LON, _DROPOFF_LAT, _EXACT, _ROUTE_KM = 2, 3, 4, 5, 8, 9
_STARTED, _AT, _LON, _LAT, _KM, _KMH = range(TRIP, TRIP + 6)
WIDTH = TRIP + 6
_UNSTARTED = (math.nan,) * 4 + (0.0, math.nan)
SPEED_MEMORY_S = 120.0  # over which the recent speed is averaged: a long red light in a city

_SPARE_ROWS = 1024
_FORMAT = b"open rides 2\n"
"""Begins a snapshot. One that begins otherwise was written by another release, and is not read: see `restore`."""


class OpenRides:
    """What is known of each open ride, the one that was silent longest first.

    A ride that was only asked for is a row of `_rows`, and those of a batch are written at once. The next event of its life
    makes a list of it, which is quicker to change number by number.
    """

    def __init__(self) -> None:
        self._rides: OrderedDict[Key, int | list[float]] = OrderedDict()
        self._rows = np.empty((0, WIDTH))
        self._used = 0

    def __len__(self) -> int:
        return len(self._rides)

    def write(self, trips: Floats) -> int:
        """Take in the (n, 10) numbers of the next n requests; gives the first one's row, the others follow."""
        first, end = self._used, self._used + len(trips)
        if end > len(self._rows):
            self._tidy(len(trips))
            first, end = self._used, self._used + len(trips)
        self._rows[first:end, :TRIP] = trips
        self._rows[first:end, TRIP:] = _UNSTARTED
        self._used = end
        return first

    def open(self, key: Key, row: int) -> None:
        """The ride of that row was requested; a second request of a ride that is open changes nothing."""
        rides = self._rides
        if key not in rides:
            rides[key] = row
            if len(rides) > CAPACITY:
                rides.popitem(last=False)

    def start(self, key: Key, at_s: float) -> None:
        """The passenger is in the car; of an unknown ride, nothing is kept."""
        ride = self._touch(key)
        if ride is not None:
            ride[_STARTED] = at_s

    def close(self, key: Key) -> None:
        """The ride ended, one way or the other."""
        self._rides.pop(key, None)

    def move(self, key: Key, event: RidePositioned) -> list[float] | None:
        """Follow the car: the trip as requested, then the numbers of `agents._enroute.RAW`; `None` if unknown."""
        ride = self._touch(key)
        if ride is None:
            return None
        at_s = event.at.timestamp()
        if math.isnan(ride[_STARTED]):
            ride[_STARTED] = at_s  # nobody said it started: the first position does
        self._advance(ride, event, at_s)
        remaining = _distance_km(event.lon, event.lat, ride[_DROPOFF_LON], ride[_DROPOFF_LAT])
        direct = _distance_km(ride[_PICKUP_LON], ride[_PICKUP_LAT], ride[_DROPOFF_LON], ride[_DROPOFF_LAT])
        elapsed = max(at_s - ride[_STARTED], 0.0) / 60
        return [*ride[:TRIP], elapsed, ride[_KM], remaining, direct, ride[_KMH], ride[_EXACT], ride[_ROUTE_KM]]

    def dump(self) -> bytes:
        """The ids, then their numbers; ids hold no newline (`app.events.Id`)."""
        ids = "\n".join(f"{user}\n{ride}" for user, ride in self._rides).encode()
        return _FORMAT + len(ids).to_bytes(4, "little") + ids + self._numbers().tobytes()

    @classmethod
    def restore(cls, snapshot: bytes) -> Self:
        """The rides as they were at the dump, in the same order.

        None, of another release's: the rides under way at an upgrade go on uncorrected, which is over within the hour.
        """
        rides = cls()
        if snapshot.startswith(_FORMAT):
            start = len(_FORMAT) + 4
            end = start + int.from_bytes(snapshot[start - 4 : start], "little")
            ids = snapshot[start:end].decode().split("\n") if end > start else []
            rides._rows = np.frombuffer(snapshot[end:], "<f8").reshape(-1, WIDTH)
            rides._used = len(rides._rows)
            rides._rides.update(zip(zip(ids[::2], ids[1::2], strict=True), range(rides._used), strict=True))
        return rides

    def _numbers(self) -> Floats:
        """(n, 16), in the order of the rides."""
        numbers = np.empty((len(self._rides), WIDTH), "<f8")
        waiting = {place: ride for place, ride in enumerate(self._rides.values()) if isinstance(ride, int)}
        moving = {place: ride for place, ride in enumerate(self._rides.values()) if not isinstance(ride, int)}
        numbers[list(waiting)] = self._rows[list(waiting.values())]
        numbers[list(moving)] = np.array(list(moving.values())).reshape(-1, WIDTH)
        return numbers

    def _tidy(self, room: int) -> None:
        """Keep the rows that still stand for a ride, and make room; not again before as many requests as there are rides."""
        waiting = {key: ride for key, ride in self._rides.items() if isinstance(ride, int)}
        rows = np.empty((len(waiting) + len(self._rides) + room + _SPARE_ROWS, WIDTH))
        rows[: len(waiting)] = self._rows[list(waiting.values())]
        self._rows, self._used = rows, len(waiting)
        self._rides.update(zip(waiting, range(len(waiting)), strict=True))

    def _touch(self, key: Key) -> list[float] | None:
        ride = self._rides.get(key)
        if ride is None:
            return None
        self._rides.move_to_end(key)
        if isinstance(ride, int):
            numbers: list[float] = self._rows[ride].tolist()
            self._rides[key] = numbers
            return numbers
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
    return math.hypot(east, lat_b - lat_a) * KM_PER_DEGREE
