"""Taxi bookings of YourCabs (Bangalore, 2013) as ride requests, and which of them were cancelled."""

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agents._calendar import NEW_YORK
from app.events import Place, RideRequested

_SERVICES: dict[str, Literal["intercity", "point_to_point", "hourly"]] = {
    "1": "intercity",
    "2": "point_to_point",
    "3": "hourly",
}
CITY = Place(lat=12.97, lon=77.59)
"""Bangalore; stands for a place the booking does not tell, so that such a ride has no distance."""


@dataclass(frozen=True)
class Bookings:
    """n bookings, in order of booking time."""

    requests: list[RideRequested]
    cancelled: NDArray[np.bool_]


def read(path: Path) -> Bookings:
    """Every booking; the clock of Bangalore is told as if it were New York's, for the agent reads local hours there."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: (_time(row["booking_created"]), int(row["row#"])))
    return Bookings(
        [_request(number, row) for number, row in enumerate(rows)],
        np.array([row["Car_Cancellation"] == "1" for row in rows]),
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%m/%d/%y %H:%M").replace(tzinfo=NEW_YORK)


def _place(row: dict[str, str], end: str) -> Place:
    lat, lon = row[f"{end}_lat"], row[f"{end}_long"]
    return Place(lat=float(lat), lon=float(lon)) if lat and lon else CITY


def _channel(row: dict[str, str]) -> Literal["app", "web", "phone"]:
    if row["mobile_site_booking"] == "1":
        return "app"
    return "web" if row["online_booking"] == "1" else "phone"


def _request(number: int, row: dict[str, str]) -> RideRequested:
    pickup = _place(row, "from")
    dropoff = _place(row, "to") if row["to_lat"] else pickup
    return RideRequested(
        event_id=f"y{number}",
        user_id=row["user_id"],
        ride_id=f"y{number}",
        at=_time(row["booking_created"]),
        pickup_at=_time(row["from_date"]),
        pickup=pickup,
        dropoff=dropoff,
        channel=_channel(row),
        service=_SERVICES[row["travel_type_id"]],
    )
