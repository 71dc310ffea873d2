"""Taxi trajectories of Chengdu as the events of rides: the sample that came with DeepTTE (AAAI 2018)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np

from agents._calendar import NEW_YORK
from agents._places import KM_PER_DEGREE
from app.events import AnyRide, Place, RidePositioned, RideRequested, RideStarted

# The file tells the day of the week (`weekID`) and the minute (`timeID`), not the date: this Monday stands for it.
_MONDAY = datetime(2014, 8, 4, tzinfo=NEW_YORK)


class Trajectory(msgspec.Struct, frozen=True):
    """One trip: `time` s in all, `dist` km in all; `time_gap` s and `dist_gap` km since the start, by point."""

    time_gap: tuple[float, ...]
    dist_gap: tuple[float, ...]
    lats: tuple[float, ...]
    lngs: tuple[float, ...]
    driver: int = msgspec.field(name="driverID")
    weekday: int = msgspec.field(name="weekID")
    minute: int = msgspec.field(name="timeID")
    time: float = 0.0
    dist: float = 0.0


@dataclass(frozen=True)
class Shift:
    """By how many degrees the drop-off that is told lies beside the real one."""

    lon: float = 0.0
    lat: float = 0.0


def read(path: Path) -> list[Trajectory]:
    """Every trip of at least a minute and two points."""
    decoder = msgspec.json.Decoder(Trajectory)
    trips = decoder.decode_lines(path.read_bytes())
    return [trip for trip in trips if trip.time >= 60 and len(trip.lats) > 1]


def events(trip: Trajectory, name: str, shift: Shift) -> list[AnyRide]:
    """The trip as it would have come in, to its last point but one; the route it planned is the one it drove."""
    at = _MONDAY + timedelta(days=trip.weekday, minutes=trip.minute)
    at = at.astimezone(UTC)
    first, last = (Place(lat=trip.lats[i], lon=trip.lngs[i]) for i in (0, -1))
    told = Place(lat=last.lat + shift.lat, lon=last.lon + shift.lon)  # type: ignore[operator]  # points have both
    opening: list[AnyRide] = [
        RideRequested(
            event_id=f"{name}.r",
            user_id="t",
            ride_id=name,
            at=at,
            pickup=first,
            dropoff=told,
            route_km=trip.dist,
        ),
        RideStarted(event_id=f"{name}.s", user_id="t", ride_id=name, at=at),
    ]
    return opening + [
        RidePositioned(
            event_id=f"{name}.{i}",
            user_id="t",
            ride_id=name,
            at=at + timedelta(seconds=trip.time_gap[i]),
            lat=trip.lats[i],
            lon=trip.lngs[i],
            travelled_km=trip.dist_gap[i],
        )
        for i in range(len(trip.lats) - 1)
    ]


def shifts(count: int, sigma_km: float, rng: np.random.Generator) -> list[Shift]:
    """Drop-offs told as the middle of a zone: off by a normal of `sigma_km` in each direction."""
    return [Shift(*pair) for pair in (rng.normal(0, sigma_km / KM_PER_DEGREE, (count, 2))).tolist()]
