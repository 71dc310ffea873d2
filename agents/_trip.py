"""What is known of a trip before it begins: the features that `duration`, `tip` and `cost` share.

Nothing here may come from the meter: distance driven, fare and duration are known at drop-off only.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents._calendar import DAY_S, Floats, is_holiday, local, weekday
from agents._places import IS_AIRPORT, Located, ends, offset_km
from app.events import RideRequested

COLUMNS = (
    "pickup_zone",
    "dropoff_zone",
    "pickup_lon",
    "pickup_lat",
    "dropoff_lon",
    "dropoff_lat",
    "distance_km",
    "east_km",
    "north_km",
    "hour",
    "weekday",
    "hour_of_week",
    "holiday",
    "month",
    "passengers",
    "airport",
)
ZONE_COLUMNS = (0, 1)
PLACE_COLUMNS = slice(0, 6)


def instants(batch: Sequence[RideRequested]) -> Floats:
    """When each trip is to start, seconds since 1970, (n,)."""
    return np.array([(event.pickup_at or event.at).timestamp() for event in batch], np.float64)


def trip(batch: Sequence[RideRequested]) -> Floats:
    """(n, 16), columns `COLUMNS`; a trip that begins or ends outside the city has its zones and places NaN."""
    start, end = ends(batch)
    passengers = np.fromiter((event.passengers for event in batch), np.float64, len(batch))
    return assemble(start, end, instants(batch), passengers)


def assemble(start: Located, end: Located, instants_s: Floats, passengers: Floats) -> Floats:
    """The columns from their parts; see `trip`."""
    east, north = offset_km(start.lon, start.lat, end.lon, end.lat)
    local_s = local(instants_s)
    hour = local_s % DAY_S / 3600
    day = weekday(local_s)
    columns = np.empty((len(passengers), len(COLUMNS)))
    columns[:, 0], columns[:, 1] = start.zone, end.zone
    columns[:, 2], columns[:, 3], columns[:, 4], columns[:, 5] = start.lon, start.lat, end.lon, end.lat
    columns[:, 6], columns[:, 7], columns[:, 8] = np.sqrt(east * east + north * north), east, north
    columns[:, 9], columns[:, 10], columns[:, 11] = hour, day, day * 24 + hour
    columns[:, 12] = is_holiday(local_s)
    columns[:, 13] = months(local_s)
    columns[:, 14] = passengers
    columns[:, 15] = IS_AIRPORT[start.zone] | IS_AIRPORT[end.zone]
    columns[(start.zone == 0) | (end.zone == 0), PLACE_COLUMNS] = np.nan
    return columns


def months(local_s: Floats) -> Floats:
    """Whole months since January 1970: prices and traffic drift, and the latest month is nearest to now."""
    days: NDArray[np.datetime64] = np.floor(local_s).astype("datetime64[s]")
    return days.astype("datetime64[M]").astype(np.float64)
