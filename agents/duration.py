"""`duration`: how long the ride takes, minutes in all: said before it begins, corrected as the car moves.

The first figure answers `RideRequested` from zones and time; each `RidePositioned` yields a correction, elapsed time
plus what the second model expects to remain.
"""

from collections.abc import Sequence

import numpy as np

from agents._calendar import Floats
from agents._enroute import RAW, relative
from agents._places import Located, ends
from agents._rides import TRIP, Key, OpenRides
from agents._trip import COLUMNS, assemble, instants
from app.agent import agent
from app.boosting import LightGBMModel
from app.events import AnyRide, RideCancelled, RideCompleted, RidePositioned, RideRequested, RideStarted
from app.predictions import Detail
from app.registry import Artifact

PRETRIP = slice(0, len(COLUMNS))
ENROUTE = slice(len(COLUMNS), len(COLUMNS) + len(RAW))
ELAPSED = ENROUTE.start
LONGEST_MIN = 1440.0  # as `app.events.Minutes`
_LEAST_MIN = 1.0  # as the shortest trip that is trained on


class Duration:
    """Two boosters: `model.txt` before the ride, `enroute.txt` while it runs."""

    def __init__(self, pretrip: LightGBMModel, enroute: LightGBMModel) -> None:
        self._pretrip, self._enroute = pretrip, enroute

    def predict(self, features: Floats) -> Floats:
        """(n, 23) -> (n,), minutes from start to end."""
        total = np.maximum(self._pretrip.predict(np.ascontiguousarray(features[:, PRETRIP])), _LEAST_MIN)
        moving = np.flatnonzero(~np.isnan(features[:, ELAPSED]))
        if len(moving):
            raw = features[moving, ENROUTE]
            share = self._enroute.predict(relative(raw, total[moving]))
            total[moving] = raw[:, 0] + np.maximum(share, 0.0) * total[moving]
        return total


def load(artifact: Artifact) -> Duration:
    """The model of an artifact of `training.recipes.duration`."""
    return Duration(LightGBMModel(artifact.path("model.txt")), LightGBMModel(artifact.path("enroute.txt")))


def remaining(_model: Duration, _events: Sequence[AnyRide], features: Floats, values: Floats) -> list[Detail | None]:
    """Of a correction, the minutes still to go."""
    details: list[Detail | None] = [None] * len(values)
    left = values - features[:, ELAPSED]
    for row in np.flatnonzero(~np.isnan(left)).tolist():
        details[row] = {"remaining_min": round(float(left[row]), 2)}
    return details


@agent(
    "duration",
    consumes=(RideRequested, RidePositioned),
    follows=(RideStarted, RideCompleted, RideCancelled),
    unit="min",
    low=0,
    high=LONGEST_MIN,
    load=load,
    detail=remaining,
    state=OpenRides,
    stateless=(RideRequested,),
    unscorable="a position of a ride that was never requested, or has ended",
)
def duration(batch: Sequence[AnyRide], state: OpenRides) -> Floats:
    """(n, 23): the columns of `agents._trip`, then those of `agents._enroute.RAW`, NaN before the ride runs."""
    rows = np.full((len(batch), ENROUTE.stop), np.nan)
    asked = [row for row, event in enumerate(batch) if isinstance(event, RideRequested)]
    written = 0
    if asked:
        trips = _requested([event for event in batch if isinstance(event, RideRequested)])
        rows[asked, PRETRIP] = _columns(trips)
        written = state.write(trips)
    moved: dict[int, list[float]] = {}
    for row, event in enumerate(batch):
        if isinstance(event, RideRequested):
            state.open((event.user_id, event.ride_id), written)
            written += 1
        elif (numbers := _follow(event, state)) is not None:
            moved[row] = numbers
    if moved:
        known = np.array(list(moved.values()))
        rows[list(moved), PRETRIP] = _columns(known[:, :TRIP])
        rows[list(moved), ENROUTE] = known[:, TRIP:]
    return rows


def _follow(event: AnyRide, state: OpenRides) -> list[float] | None:
    """The numbers of a position, where its ride is open; of other events, nothing but their trace in the state."""
    key: Key = (event.user_id, event.ride_id)
    if isinstance(event, RidePositioned):
        return state.move(key, event)
    if isinstance(event, RideStarted):
        state.start(key, event.at.timestamp())
    else:
        state.close(key)
    return None


def _requested(batch: Sequence[RideRequested]) -> Floats:
    """(n, 10): what the state keeps of a request: zones, places, instant, passengers, drop-off is a point, route, km."""
    start, end = ends(batch)
    passengers = np.array([event.passengers for event in batch], np.float64)
    exact = np.array([event.dropoff.zone is None for event in batch], np.float64)
    route = np.array([event.route_km for event in batch], np.float64)  # None becomes NaN
    places = (start.zone, end.zone, start.lon, start.lat, end.lon, end.lat)
    return np.column_stack([*places, instants(batch), passengers, exact, route])


def _columns(trips: Floats) -> Floats:
    """The features before the ride; how long the route is planned is not among them: the TLC's trips do not tell it."""
    pickup_zone, dropoff_zone, lon_a, lat_a, lon_b, lat_b, at, passengers = np.ascontiguousarray(trips.T[:8])
    start = Located(pickup_zone.astype(np.int64), lon_a, lat_a)
    end = Located(dropoff_zone.astype(np.int64), lon_b, lat_b)
    return assemble(start, end, at, passengers)
