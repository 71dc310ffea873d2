"""The whole life of made-up rides: requested, started, positions on the way, completed or cancelled, or never heard of again.

Pure: all chance comes from `rng`, all time from the ride's opening; `city` holds the figures. `plan` says when to send.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal, NamedTuple

from app.events import (
    AnyEvent,
    Place,
    RideCancelled,
    RideCompleted,
    RidePositioned,
    RideRequested,
    RideStarted,
)
from simulator.city import (
    Meter,
    Point,
    centroids,
    corner,
    cruising_kmh,
    distance_km,
    pick_zones,
    tip_usd,
)
from simulator.plan import Life
from simulator.ride import Ride

Channel = Literal["app", "web", "phone", "street"]

# How a ride is booked, and how many of those so booked come to nothing: as of the bookings that the model of cancellations
# learned from (YourCabs 2013: phone 63 %, web 33 %, mobile 4 %). They know no ride that was hailed: five in a hundred, here.
BOOKED: dict[Channel, int] = {"phone": 60, "web": 31, "app": 4, "street": 5}
CANCELLED: dict[Channel, float] = {"phone": 0.026, "web": 0.093, "app": 0.123, "street": 0.005}

AHEAD, AHEAD_MIN, AHEAD_CANCELLED = 0.2, (10, 90), 2.0
"""The share of rides for later, how much later (whoever looks on is to see them end), and how much oftener they come to
nothing: of YourCabs' bookings for one to two hours later 11 % did, of all of them 5.2 %."""

BY: tuple[Literal["rider", "driver", "system"], ...] = ("rider", "driver", "system")
PAYMENTS: tuple[Literal["card", "cash"], ...] = ("card", "cash")

VANISHED = 0.02
"""Rides whose end is never reported: a phone's battery, a dead spot; the open ends every consumer must live with."""

LIGHT_SHARE, LIGHT_S = 0.12, (10.0, 55.0)
"""Of the steps of a drive, how many meet a red light, and for how long it holds (seconds)."""


@dataclass(frozen=True)
class TripMaker:
    """Makes the life of ride number n; see `plan.MakeLife`.

    Attributes:
        run: sets the ids of one run apart from those of every other; the same run sends the same ids again.
        users: how many riders there are.
        every: how often a car reports its position, in event time.
        points: the share of rides that name a point rather than a taxi zone.
    """

    run: str
    users: int = 200
    every: timedelta = timedelta(seconds=20)
    points: float = 0.25

    def __call__(self, number: int, at: datetime, rng: Random) -> Life:
        ride = Ride(f"r-{self.run}-{number}", f"rider-{rng.randrange(self.users)}")
        zones = pick_zones(rng)
        ends = _near(zones[0], rng), _near(zones[1], rng)
        point = rng.random() < self.points
        places = _place(zones[0], ends[0], point), _place(zones[1], ends[1], point)
        request = _request(ride, at, *places, sum(_route(*ends)[1]), rng)
        chance = CANCELLED[request.channel] * (AHEAD_CANCELLED if request.pickup_at else 1)
        if rng.random() < chance:
            return request, _cancel(ride, request, rng)
        return request, *self._driven(ride, request, ends, rng)

    def _driven(self, ride: Ride, request: RideRequested, ends: tuple[Point, Point], rng: Random) -> Iterator[AnyEvent]:
        """From the passenger's getting in to the receipt."""
        began = max(request.at, request.pickup_at or request.at) + timedelta(seconds=rng.uniform(60, 480))
        yield RideStarted(**ride.header("started", began))
        lost_after = rng.randrange(1, 12) if rng.random() < VANISHED else None
        meter = Meter()
        fix = Fix(timedelta(0), ends[0], 0.0)
        for n, fix in enumerate(drive(*ends, began, self.every, meter, rng)):
            if n == lost_after:
                return
            yield RidePositioned(
                **ride.header(f"p{n}", began + fix.after), lat=fix.point.lat, lon=fix.point.lon, travelled_km=fix.km
            )
        yield RideCompleted(
            **ride.header("completed", began + fix.after + timedelta(seconds=1)),
            duration_min=round((fix.after.total_seconds() + 1) / 60, 3),
            fare_usd=meter.fare_usd,
            tip_usd=tip_usd(meter.fare_usd, rng) if request.payment == "card" else None,
            distance_km=fix.km,
        )


class Fix(NamedTuple):
    """Where the car is, how long after the start, and what the meter says it has driven, km."""

    after: timedelta
    point: Point
    km: float


def drive(a: Point, b: Point, began: datetime, every: timedelta, meter: Meter, rng: Random) -> Iterator[Fix]:
    """The fixes of a drive from a to b, the last one at b: round one corner, with lights, and a speed that wanders."""
    turn, legs = _route(a, b)
    total = max(0.2, sum(legs))
    # A tenth of the way is lost to lights, so the car cruises that much faster than it averages.
    kmh = cruising_kmh(total, began, rng) * 1.1
    step_s, clock_s, km, factor = every.total_seconds(), 0.0, 0.0, 1.0
    while km < total:
        factor = 0.8 * factor + 0.2 * max(0.2, rng.gauss(1.0, 0.6))
        moving_s = max(1.0, step_s - (rng.uniform(*LIGHT_S) if rng.random() < LIGHT_SHARE else 0.0))
        reach = kmh * factor * moving_s / 3600
        share = min(1.0, (total - km) / reach)
        km, clock_s = min(total, km + reach), clock_s + step_s * share
        meter.run(reach * share, step_s * share / 60)
        yield Fix(timedelta(seconds=round(clock_s, 3)), _jitter(_along(a, turn, b, legs, km), 0.008, rng), round(km, 3))


def _route(a: Point, b: Point) -> tuple[Point, tuple[float, float]]:
    """The planned way: the corner it turns at, and its two legs, km."""
    turn = corner(a, b)
    return turn, (distance_km(a, turn), distance_km(turn, b))


def _along(a: Point, turn: Point, b: Point, legs: tuple[float, float], km: float) -> Point:
    """The point `km` down the way from a over the corner to b."""
    first, second = legs
    if km < first:
        return _between(a, turn, km / first)
    return _between(turn, b, min(1.0, (km - first) / second)) if second else b


def _between(a: Point, b: Point, share: float) -> Point:
    return Point(a.lat + (b.lat - a.lat) * share, a.lon + (b.lon - a.lon) * share)


def _jitter(point: Point, km: float, rng: Random) -> Point:
    """The point with a normal error of this size each way (a degree of latitude is 111 km; of longitude 84 here)."""
    return Point(round(point.lat + rng.gauss(0, km / 111), 6), round(point.lon + rng.gauss(0, km / 84), 6))


def _near(zone: int, rng: Random) -> Point:
    """Some address of a zone; they are about 1 km across."""
    return _jitter(centroids()[zone], 0.3, rng)


def _place(zone: int, point: Point, as_point: bool) -> Place:
    return Place(lat=point.lat, lon=point.lon) if as_point else Place(zone=zone)


def _request(ride: Ride, at: datetime, pickup: Place, dropoff: Place, route_km: float, rng: Random) -> RideRequested:
    """What is hailed is for now; two riders in three pay by card."""
    channel = rng.choices(tuple(BOOKED), tuple(BOOKED.values()))[0]
    later = channel != "street" and rng.random() < AHEAD
    ahead = timedelta(minutes=rng.randrange(*AHEAD_MIN)) if later else None
    header = ride.header("requested", at)
    return RideRequested(
        **header,
        pickup=pickup,
        dropoff=dropoff,
        pickup_at=header["at"] + ahead if ahead else None,
        passengers=rng.choices((1, 2, 3, 4, 5, 6), (86, 8, 2, 1, 2, 1))[0],
        payment=rng.choices(PAYMENTS, (65, 35))[0],
        channel=channel,
        route_km=round(route_km, 3),
    )


def _cancel(ride: Ride, request: RideRequested, rng: Random) -> RideCancelled:
    """Somebody called it off before the car was there."""
    at = request.at + timedelta(seconds=rng.uniform(10, 400))
    by = rng.choices(BY, (75, 20, 5))[0]
    return RideCancelled(**ride.header("cancelled", at), by=by, reason={"rider": "changed my mind"}.get(by, ""))
