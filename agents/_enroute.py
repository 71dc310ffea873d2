"""The correction while the ride runs: remaining time as a share of the pre-trip estimate, from how the ride goes.

Nearly every input is a ratio to the estimate or to the way, so what was learned in one city (the trajectories of Chengdu,
DeepTTE, AAAI 2018) serves in another. The way is the planned route where the client told it, else as the crow flies.
"""

import numpy as np

from agents._calendar import Floats

RAW = ("elapsed_min", "travelled_km", "remaining_km", "direct_km", "recent_kmh", "exact", "route_km")
"""As `agents._rides` tells them; `exact` is 1 where the drop-off is a point and not the middle of a zone, `route_km` is
NaN where no route was told."""

RELATIVE = (
    "elapsed / estimate",
    "remaining / direct",
    "travelled / direct",
    "pace so far / expected pace",
    "recent pace / expected pace",
    "way made good / expected",
    "remaining at recent pace / estimate",
    "remaining at pace so far / estimate",
    "estimate_min",
    "elapsed_min",
    "remaining_km",
    "exact",
    "share of the route driven",
    "route / direct",
    "elapsed / share of the route / estimate",
    "rest of the route at recent pace / estimate",
    "route_km",
)
# Below, a ratio says more of the division than of the ride.
_LEAST_KM, _LEAST_MIN, _LEAST_KMH, _LEAST_SHARE = 0.2, 0.5, 2.0, 0.01


def relative(raw: Floats, estimate_min: Floats) -> Floats:
    """(n, 7) of `RAW` and (n,) pre-trip minutes -> (n, 17) of `RELATIVE`; the last five NaN where no route was told."""
    elapsed, travelled, remaining, direct, recent, exact, told = (np.ascontiguousarray(column) for column in raw.T)
    estimate = np.maximum(estimate_min, _LEAST_MIN)
    way = np.maximum(direct, _LEAST_KM)
    run = np.maximum(elapsed, _LEAST_MIN)
    expected_kmh = way / estimate * 60
    so_far_kmh = travelled / run * 60
    route = np.maximum(told, _LEAST_KM)
    driven = np.clip(travelled / route, _LEAST_SHARE, 1.0)  # a detour does not take more than the whole route
    return np.column_stack(
        [
            elapsed / estimate,
            remaining / way,
            travelled / way,
            so_far_kmh / expected_kmh,
            recent / expected_kmh,
            (direct - remaining) / run * 60 / expected_kmh,
            remaining / np.maximum(recent, _LEAST_KMH) * 60 / estimate,
            remaining / np.maximum(so_far_kmh, _LEAST_KMH) * 60 / estimate,
            estimate,
            elapsed,
            remaining,
            exact,
            driven,
            route / way,
            elapsed / driven / estimate,
            route * (1 - driven) / np.maximum(recent, _LEAST_KMH) * 60 / estimate,
            route,
        ]
    )
