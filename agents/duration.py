"""`duration`: how long the ride takes, minutes in all: said before it begins, corrected as the car moves.

The first figure answers `RideRequested` from zones and time; each `RidePositioned` yields a correction, elapsed time
plus what the second model expects to remain.
"""

from collections.abc import Sequence

import numpy as np

from agents._calendar import Floats
from agents._enroute import RAW, relative
from agents._places import Located, locate
from agents._rides import TRIP, OpenRides
from agents._trip import COLUMNS, assemble, instants
from app.agent import agent
from app.events import AnyRide, RideCancelled, RideCompleted, RidePositioned, RideRequested, RideStarted
from app.predictions import Detail
from app.registry import Artifact, LightGBMModel

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
        """(n, 22) -> (n,), minutes from start to end."""
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
    left = values - features[:, ELAPSED]
    return [None if np.isnan(minutes) else {"remaining_min": round(minutes, 2)} for minutes in left.tolist()]


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
    unscorable="a position of a ride that was never requested, or has ended",
)
def duration(batch: Sequence[AnyRide], state: OpenRides) -> Floats:
    """(n, 22): the columns of `agents._trip`, then those of `agents._enroute.RAW`, NaN before the ride runs."""
    rows = np.full((len(batch), ENROUTE.stop), np.nan)
    asked = [row for row, event in enumerate(batch) if isinstance(event, RideRequested)]
    requested = iter(())
    if asked:
        trips = _requested([event for event in batch if isinstance(event, RideRequested)])
        rows[asked, PRETRIP] = _columns(trips)
        requested = iter(trips.tolist())
    moved: list[int] = []
    known: list[list[float]] = []
    for row, event in enumerate(batch):
        if isinstance(event, RideRequested):
            state.open(event.ride_id, next(requested))
        elif isinstance(event, RidePositioned):
            if (found := state.move(event)) is not None:
                moved.append(row)
                known.append([*found[0], *found[1]])
        elif isinstance(event, RideStarted):
            state.start(event.ride_id, event.at.timestamp())
        else:
            state.close(event.ride_id)
    if moved:
        numbers = np.array(known)
        rows[moved, PRETRIP] = _columns(numbers[:, :TRIP])
        rows[moved, ENROUTE] = numbers[:, TRIP:]
    return rows


def _requested(batch: Sequence[RideRequested]) -> Floats:
    """(n, 9): what the state keeps of a request: zones, places, instant, passengers, drop-off is a point."""
    start = locate([event.pickup for event in batch])
    end = locate([event.dropoff for event in batch])
    passengers = np.fromiter((event.passengers for event in batch), np.float64, len(batch))
    exact = np.fromiter((event.dropoff.zone is None for event in batch), np.float64, len(batch))
    places = (start.zone, end.zone, start.lon, start.lat, end.lon, end.lat)
    return np.column_stack([*places, instants(batch), passengers, exact])


def _columns(trips: Floats) -> Floats:
    pickup_zone, dropoff_zone, lon_a, lat_a, lon_b, lat_b, at, passengers, _ = (
        np.ascontiguousarray(column) for column in trips.T
    )
    start = Located(pickup_zone.astype(np.int64), lon_a, lat_a)
    end = Located(dropoff_zone.astype(np.int64), lon_b, lat_b)
    return assemble(start, end, at, passengers)
