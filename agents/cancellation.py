"""`cancellation`: the probability that a booking comes to nothing, from how, when and for when it was made."""

from collections.abc import Sequence

import numpy as np

from agents._calendar import DAY_S, Floats, local, weekday
from agents._places import distance_km, ends
from agents._trip import instants
from app.agent import agent
from app.events import RideRequested

COLUMNS = (
    "lead_h",
    "booked_hour",
    "pickup_hour",
    "booked_weekday",
    "pickup_weekday",
    "distance_km",
    "no_distance",
    "channel",
    "service",
)
CHANNELS = {"phone": 0.0, "web": 1.0, "app": 2.0, "street": 3.0}
SERVICES = {"point_to_point": 0.0, "hourly": 1.0, "intercity": 2.0}
LONGEST_LEAD_H = 24.0 * 30  # beyond a month ahead the data set has no bookings


@agent("cancellation", consumes=(RideRequested,), unit="probability", low=0, high=1)
def cancellation(batch: Sequence[RideRequested]) -> Floats:
    """(n, 9), columns `COLUMNS`."""
    count = len(batch)
    start, end = ends(batch)
    pickup_s = instants(batch)
    booked_s = np.fromiter((event.at.timestamp() for event in batch), np.float64, count)
    booked, pickup = local(booked_s), local(pickup_s)
    distance = distance_km(start.lon, start.lat, end.lon, end.lat)
    return np.column_stack(
        [
            np.clip((pickup_s - booked_s) / 3600, 0, LONGEST_LEAD_H),
            booked % DAY_S / 3600,
            pickup % DAY_S / 3600,
            weekday(booked),
            weekday(pickup),
            distance,
            distance == 0,
            np.fromiter((CHANNELS[event.channel] for event in batch), np.float64, count),
            np.fromiter((SERVICES[event.service] for event in batch), np.float64, count),
        ]
    )
