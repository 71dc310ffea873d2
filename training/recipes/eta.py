"""Recipe of `eta`: a graph over the zones whose paces are learned from trips, and the quickest way for every pair."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import Delaunay

from agents._calendar import Floats, local
from agents._places import ZONES, centroids, distance_km
from agents.eta import COLUMNS, HOURS, ZoneGraph, eta
from training.boost import mae, rmse
from training.data.tlc import Trips, together
from training.recipe import Job, Metric, Trained, npz, recipe
from training.recipes import _trips

LONGEST_EDGE_KM = 12.0  # JFK and Jamaica Bay lie 6 km from their neighbours; longer edges only close the hull
SLOWEST, QUICKEST = 9.0, 0.9  # min/km: walking pace, and the speed limit of a parkway
TOWARDS = 400.0  # km driven in a zone before its own pace outweighs the city's
SMOOTH = 30.0  # trips before a pair's, or an hour's, own median outweighs the graph's


@dataclass(frozen=True)
class Edges:
    """The zone graph: m edges in one direction each, and their length."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    km: Floats


def edges() -> Edges:
    """Neighbours by Delaunay's triangulation of the centroids."""
    lon, lat = centroids()
    zones = np.flatnonzero(~np.isnan(lon))
    flat = np.column_stack([lon[zones] * np.cos(np.radians(40.7)), lat[zones]])
    triangles = zones[Delaunay(flat).simplices]
    pairs = np.unique(np.sort(np.vstack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])), axis=0)
    a, b = pairs.T
    km = distance_km(lon[a], lat[a], lon[b], lat[b])
    short = km <= LONGEST_EDGE_KM
    return Edges(a[short], b[short], km[short])


def quickest(graph: Edges, cost: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """(266, 266) cost and predecessor of the cheapest way, infinite and negative where there is none."""
    matrix = csr_matrix((cost, (graph.a, graph.b)), shape=(ZONES, ZONES))
    found, before = dijkstra(matrix, directed=False, return_predecessors=True)
    return found, before


def driven(before: NDArray[np.int64], graph: Edges, start: NDArray[np.int64], end: NDArray[np.int64]) -> csr_matrix:
    """(n, 266) km driven in each zone on the way of each pair; an edge belongs to both its ends by half."""
    length = csr_matrix((graph.km, (graph.a, graph.b)), shape=(ZONES, ZONES))
    length = (length + length.T).tocsr()
    at, rows = end.copy(), np.arange(len(end))
    parts = []
    while len(rows := rows[(at[rows] != start[rows]) & (before[start[rows], at[rows]] >= 0)]):
        previous = before[start[rows], at[rows]]
        half = np.asarray(length[at[rows], previous]).ravel() / 2
        parts += [(half, rows, at[rows]), (half, rows, previous)]
        at[rows] = previous
    values, row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
    return coo_matrix((values, (row, column)), shape=(len(end), ZONES)).tocsr()


def paces(graph: Edges, trips: Trips) -> tuple[Floats, float]:
    """(266,) min/km in each zone, and the minutes every trip takes beside its way (bounded ridge regression)."""
    _, before = quickest(graph, graph.km)
    km = driven(before, graph, trips.pickup, trips.dropoff)
    whole = np.asarray(km.sum(axis=1)).ravel()
    slope, base = np.polyfit(whole, trips.duration_min, 1)
    normal = (km.T @ km).toarray() + TOWARDS * np.eye(ZONES)
    right = km.T @ (trips.duration_min - base) + TOWARDS * slope
    root = np.linalg.cholesky(normal).T
    solved = lsq_linear(root, np.linalg.solve(root.T, right), bounds=(QUICKEST, SLOWEST))
    return np.asarray(solved.x), float(base)


def tables(trips: Trips) -> dict[str, NDArray[np.generic]]:
    """The arrays of `agents.eta.ZoneGraph`."""
    graph = edges()
    pace, base = paces(graph, trips)
    way_min, before = quickest(graph, graph.km * (pace[graph.a] + pace[graph.b]) / 2)
    minutes = np.where(np.isfinite(way_min), base + way_min, np.nan)
    lon, _ = centroids()
    minutes[np.isnan(lon)] = minutes[:, np.isnan(lon)] = np.nan
    minutes = _towards_pairs(minutes, trips)
    hour = _hours(minutes[trips.pickup, trips.dropoff], trips)
    crow = distance_km(*(table[zone] for zone in (trips.pickup, trips.dropoff) for table in centroids()))
    told = ~np.isnan(crow)
    slope, intercept = np.polyfit(crow[told], trips.duration_min[told], 1)
    return {
        "minutes": minutes.astype(np.float32),
        "before": np.maximum(before, 0).astype(np.int16),
        "hour": hour,
        "typical": np.array(np.median(trips.duration_min)),
        "base_min": np.array(intercept),
        "pace_min_per_km": np.array(slope),
    }


def _towards_pairs(minutes: Floats, trips: Trips) -> Floats:
    """Pairs that were driven often take their own mean, the others keep the graph's."""
    place = trips.pickup * ZONES + trips.dropoff
    count = np.bincount(place, minlength=ZONES * ZONES)
    mean = np.bincount(place, trips.duration_min, minlength=ZONES * ZONES) / np.maximum(count, 1)
    share = (count / (count + SMOOTH)).reshape(ZONES, ZONES)
    return np.asarray(np.where(np.isnan(minutes), np.nan, minutes + share * (mean.reshape(ZONES, ZONES) - minutes)))


def _hours(expected: Floats, trips: Trips) -> Floats:
    """(168,) how much longer than expected a trip takes at that hour of the week, from Monday midnight."""
    hours = np.floor(local(trips.pickup_s) / 3600).astype(np.int64)
    of_week = (hours + 3 * 24) % HOURS  # 1 January 1970 was a Thursday
    told = ~np.isnan(expected)
    actual = np.bincount(of_week[told], trips.duration_min[told], minlength=HOURS)
    usual = np.bincount(of_week[told], expected[told], minlength=HOURS)
    ballast = SMOOTH * float(np.mean(trips.duration_min))
    return (actual + ballast) / (usual + ballast)


@recipe("eta", data=_trips.FILES, licence=_trips.LICENCE)
def train(job: Job) -> Trained:
    """Tables only: an answer costs a look-up."""
    rng = np.random.default_rng(job.seed)
    trips = together([_trips.month(job, name) for name in _trips.WEIGHTS])
    trips = trips.where(rng.random(len(trips)) < job.sample)
    job.progress("zone graph", 0.2)
    arrays = tables(trips)
    test = _trips.month(job, _trips.TEST)
    predicted = ZoneGraph(arrays).predict(eta.features(test.requests()))
    median = np.full_like(predicted, np.median(trips.duration_min))
    split = "green 2021-01, 2021-02, 2023-01 → 2023-02"
    return Trained(
        files={"graph.npz": npz(**arrays)},
        metrics=[
            Metric(
                name, split, error(predicted, test.duration_min), error(median, test.duration_min), "constant median"
            )
            for name, error in (("RMSE, min", rmse), ("MAE, min", mae))
        ],
        rows=len(trips),
        split=_trips.SPLIT.replace(" (weight 0.2)", ""),
        about=(
            "At once: a way from pickup to drop-off over the taxi zones, and roughly how long it takes (minutes). The "
            "zones are joined to their neighbours; how fast each is crossed, and how each hour of the week differs, "
            "was learned from trips. `duration` gives the figure to rely on."
        ),
        limits=(
            "The track joins centroids of zones: it is a sketch for a map, not a route, and it crosses water anywhere.",
            "The time ignores everything but places and the hour of the week.",
            _trips.OUTSIDE,
        ),
        features=COLUMNS,
    )
