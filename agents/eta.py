"""`eta`: at once, a way across the city and a rough time for it, from tables made at training.

The way leads over the zone graph (centroids, joined to their neighbours); `duration` is the figure to rely on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents._calendar import DAY_S, Floats, local, weekday
from agents._places import ZONES, centroids, distance_km, ends
from agents._trip import instants
from app.agent import agent
from app.events import RideRequested
from app.predictions import Detail
from app.registry import Artifact

COLUMNS = (
    "pickup_zone",
    "dropoff_zone",
    "pickup_lon",
    "pickup_lat",
    "dropoff_lon",
    "dropoff_lat",
    "hour_of_week",
    "distance_km",
)
HOURS = 168
Track = list[list[float]]


class ZoneGraph:
    """Tables over pairs of zones, (266, 266): minutes, and the zone before the last on the quickest way.

    Attributes of the artifact's `graph.npz`: `minutes` float32; `before` int16, 0 where there is no way; `hour` (168,)
    factor by hour of the week; `typical` minutes where nothing is known; `base_min` + `pace_min_per_km` x distance
    outside the city.
    """

    def __init__(self, tables: dict[str, NDArray[Any]]) -> None:
        self._minutes = tables["minutes"].astype(np.float64)
        self._before: list[list[int]] = tables["before"].tolist()
        self._hour = tables["hour"].astype(np.float64)
        self._typical = float(tables["typical"])
        self._base, self._pace = float(tables["base_min"]), float(tables["pace_min_per_km"])
        self._points = [list(point) for point in np.round(np.column_stack(centroids()), 5).tolist()]
        self._tracks: dict[tuple[int, int], Track] = {}  # at most one per pair of zones: 70,000

    def predict(self, features: Floats) -> Floats:
        """(n, 8) -> (n,), minutes."""
        start, end = features[:, 0].astype(np.int64), features[:, 1].astype(np.int64)
        minutes = self._minutes[start, end]
        by_distance = self._base + self._pace * features[:, 7]
        minutes = np.where(np.isnan(minutes), by_distance, minutes)
        minutes = np.where(np.isnan(minutes), self._typical, minutes)
        factors: Floats = self._hour[features[:, 6].astype(np.int64) % HOURS]
        return minutes * factors

    def track(self, start: int, end: int) -> Track:
        """Centroids from the start's zone to the end's, [lon, lat] each; empty where the graph knows no way."""
        known = self._tracks.get((start, end))
        if known is None:
            known = self._tracks[start, end] = self._walk(start, end)
        return known

    def _walk(self, start: int, end: int) -> Track:
        if np.isnan([*self._points[start], *self._points[end]]).any():
            return []
        zones = [end]
        while zones[-1] != start:
            before = self._before[start][zones[-1]]
            if before == 0 or len(zones) > ZONES:
                return []
            zones.append(before)
        return [self._points[zone] for zone in reversed(zones)]


def load(artifact: Artifact) -> ZoneGraph:
    """The model of an artifact of `training.recipes.eta`."""
    return ZoneGraph(artifact.arrays("graph.npz"))


def describe(model: ZoneGraph, events: Sequence[RideRequested], features: Floats, _values: Floats) -> list[Detail]:
    """The track as [lon, lat] points from pickup to drop-off, and its length."""
    tracks = [
        _through(event, model.track(int(row[0]), int(row[1])), row)
        for event, row in zip(events, features.tolist(), strict=True)
    ]
    lengths = _lengths_km(tracks)
    return [{"track": track, "distance_km": length} for track, length in zip(tracks, lengths, strict=True)]


def _through(event: RideRequested, zones: Track, row: Sequence[float]) -> Track:
    """The way over the zones, from the very pickup to the very drop-off where they are points."""
    if np.isnan(row[2:6]).any():
        return []
    inner = zones if len(zones) > 2 else []
    first = [round(row[2], 5), round(row[3], 5)] if event.pickup.zone is None or not zones else zones[0]
    last = [round(row[4], 5), round(row[5], 5)] if event.dropoff.zone is None or not zones else zones[-1]
    return [first, *inner[1:-1], last]


def _lengths_km(tracks: Sequence[Track]) -> list[float]:
    """Each track's length, km, to 10 m."""
    points = np.array([point for track in tracks for point in track]).reshape(-1, 2)
    owner = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    lon, lat = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    legs = distance_km(lon[:-1], lat[:-1], lon[1:], lat[1:])
    within = owner[:-1] == owner[1:]
    totals = np.bincount(owner[:-1][within], legs[within], minlength=len(tracks))
    return [round(float(total), 2) for total in totals.tolist()]  # of no legs at all, bincount makes integers


@agent("eta", consumes=(RideRequested,), unit="min", low=0, high=1440, load=load, detail=describe)
def eta(batch: Sequence[RideRequested]) -> Floats:
    """(n, 8), columns `COLUMNS`; zone 0 is outside the city."""
    start, end = ends(batch)
    local_s = local(instants(batch))
    hour_of_week = weekday(local_s) * 24 + np.floor(local_s % DAY_S / 3600)
    distance = distance_km(start.lon, start.lat, end.lon, end.lat)
    places = (start.zone, end.zone, start.lon, start.lat, end.lon, end.lat)
    return np.column_stack([*places, hour_of_week, distance])
