"""The half of `duration` that corrects: learned from trajectories, city by city unlike, so in ratios only.

The pre-trip estimate it corrects is in service that of the NYC model; here, one learned from other drivers' trips.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from agents._enroute import RAW, relative
from agents._rides import OpenRides
from agents.duration import ENROUTE, duration
from training.boost import Floats, fit
from training.data import chengdu
from training.recipe import Job, Metric

FILE = "trajectories/chengdu.jsonl"
LICENCE = "Trajectories of Chengdu: the sample published with DeepTTE (AAAI 2018), which states no licence."
REFERENCE = {0: 39.4, 25: 19.1, 50: 13.4, 75: 9.2}
"""Percent of the path -> mean error, % of the trip's time, unseen drivers (a plain LightGBM on the same data, told how
long the path is: without it, a fall from 39 to 19 % within a quarter of the way is out of reach)."""

ROUNDS, ESTIMATE_ROUNDS, FOLDS = 150, 60, 5
ZONE_SIGMA_KM = 0.6  # how far a drop-off lies from the centroid of its zone, in each direction: zones are 1-2 km wide
_TREES = {"num_leaves": 15, "min_data_in_leaf": 60, "bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.6}
# Absolute error, weighed by 1 / the trip's time: the measure itself.
MOVING = {**_TREES, "objective": "l1", "learning_rate": 0.07, "feature_fraction": 0.8}
ESTIMATE = {**_TREES, "objective": "l1", "learning_rate": 0.08, "min_data_in_leaf": 20}
_EXACT, _ROUTE = RAW.index("exact"), RAW.index("route_km")
TOLD, UNTOLD, ZONED = ", route told", ", route not told", ", drop-off known to the zone"


@dataclass(frozen=True)
class Positions:
    """n positions of m trips.

    Attributes:
        trip: (n,) which trip a position belongs to.
        raw: (n, 7) of `agents._enroute.RAW`.
        remaining_min: (n,).
        progress: (n,) share of the path driven.
        before: (m, 7) what was known of each trip before it began.
        total_min: (m,).
        driver: (m,).
    """

    trip: NDArray[np.int64]
    raw: Floats
    remaining_min: Floats
    progress: Floats
    before: Floats
    total_min: Floats
    driver: NDArray[np.int64]


def positions(trips: list[chengdu.Trajectory], shifts: list[chengdu.Shift], *, exact: bool) -> Positions:
    """Every trip folded by the agent's own state, so that training sees what service sees."""
    parts, remaining, progress, owner = [], [], [], []
    for number, (trip, shift) in enumerate(zip(trips, shifts, strict=True)):
        rows = duration.features(chengdu.events(trip, f"c{number}", shift), OpenRides())[2:, ENROUTE]
        rows[:, _EXACT] = exact
        parts.append(rows)
        remaining.append(trip.time - np.array(trip.time_gap[:-1]))
        progress.append(np.array(trip.dist_gap[:-1]) / max(trip.dist, 0.1))
        owner.append(np.full(len(rows), number))
    return Positions(
        np.concatenate(owner),
        np.vstack(parts),
        np.concatenate(remaining) / 60,
        np.concatenate(progress),
        np.array([_before(trip, rows) for trip, rows in zip(trips, parts, strict=True)]),
        np.array([trip.time / 60 for trip in trips]),
        np.array([trip.driver for trip in trips]),
    )


def untold(data: Positions) -> Positions:
    """The same, of clients that tell no route."""
    raw = data.raw.copy()
    raw[:, _ROUTE] = np.nan
    return replace(data, raw=raw)


def _before(trip: chengdu.Trajectory, rows: Floats) -> tuple[float, ...]:
    places = (trip.lats[0], trip.lngs[0], trip.lats[-1], trip.lngs[-1])
    return (float(rows[0, RAW.index("direct_km")]), *places, trip.minute / 60, float(trip.weekday))


def estimates(data: Positions, trips: NDArray[np.int64], seed: int) -> Floats:
    """(m,) minutes expected before the trip: of the given trips from the other drivers among them, of the rest from all."""
    expected = _pretrip(data, trips, seed).predict(data.before)
    for train, test in GroupKFold(FOLDS).split(trips, groups=data.driver[trips]):
        expected[trips[test]] = _pretrip(data, trips[train], seed).predict(data.before[trips[test]])
    return np.asarray(expected, np.float64)


def _pretrip(data: Positions, trips: NDArray[np.int64], seed: int) -> lightgbm.Booster:
    total = data.total_min[trips]
    return fit(data.before[trips], total, ESTIMATE, rounds=ESTIMATE_ROUNDS, seed=seed, weight=1 / total)


def learn(copies: Sequence[Positions], trips: NDArray[np.int64], expected: Floats, seed: int) -> lightgbm.Booster:
    """The correcting booster: remaining time as a share of the estimate, from the given trips."""
    features, target, weight = [], [], []
    for offset, data in enumerate(copies):
        # One position in so many of each copy: neighbours say nearly the same.
        rows = np.flatnonzero(np.isin(data.trip, trips) & (np.arange(len(data.trip)) % len(copies) == offset))
        estimate = expected[data.trip[rows]]
        features.append(relative(data.raw[rows], estimate))
        target.append(data.remaining_min[rows] / estimate)
        weight.append(estimate / data.total_min[data.trip[rows]] / np.bincount(data.trip)[data.trip[rows]])
    told, share, weights = (np.concatenate(parts) for parts in (features, target, weight))
    return fit(told, share, MOVING, rounds=ROUNDS, seed=seed, weight=weights)


def train(job: Job) -> tuple[lightgbm.Booster, list[Metric]]:
    """The booster trained on every trip, and how the recipe fares on drivers it has not seen."""
    trips = chengdu.read(job.path(FILE))
    trips = trips[: max(round(len(trips) * job.sample), 50)]
    clients = variants(trips, job.seed)
    everything = np.arange(len(trips))
    expected = estimates(clients[TOLD], everything, job.seed)
    booster = learn(list(clients.values()), everything, expected, job.seed)
    return booster, list(_metrics(clients[TOLD], *_errors(clients, job.seed)))


def variants(trips: list[chengdu.Trajectory], seed: int) -> dict[str, Positions]:
    """The trips as four kinds of client tell them; half of them know the route, half the exact drop-off."""
    rng = np.random.default_rng(seed)
    exact = positions(trips, [chengdu.Shift()] * len(trips), exact=True)
    zoned = positions(trips, chengdu.shifts(len(trips), ZONE_SIGMA_KM, rng), exact=False)
    return {TOLD: exact, UNTOLD: untold(exact), TOLD + ZONED: zoned, UNTOLD + ZONED: untold(zoned)}


def _errors(clients: dict[str, Positions], seed: int) -> tuple[dict[str, Floats], Floats]:
    """Per client, and of the rule: error at each position, % of the trip's time; each trip by a model of other drivers."""
    exact = clients[TOLD]
    ours = {name: np.full(len(exact.trip), np.nan) for name in clients}
    rule = np.full(len(exact.trip), np.nan)
    for train_on, test_on in GroupKFold(FOLDS).split(exact.total_min, groups=exact.driver):
        expected = estimates(exact, train_on, seed)
        rows = np.flatnonzero(np.isin(exact.trip, test_on))
        estimate, total = expected[exact.trip[rows]], exact.total_min[exact.trip[rows]]
        booster = learn(list(clients.values()), train_on, expected, seed)

        def wrong(minutes: Floats, rows: NDArray[np.int64] = rows, total: Floats = total) -> Floats:
            return np.abs(np.maximum(minutes, 0) - exact.remaining_min[rows]) / total * 100

        for name, data in clients.items():
            share = np.asarray(booster.predict(relative(data.raw[rows], estimate), num_threads=2))
            ours[name][rows] = wrong(share * estimate)
        rule[rows] = wrong(estimate - exact.raw[rows, 0])
    return ours, rule


def _metrics(data: Positions, ours: dict[str, Floats], rule: Floats) -> Iterator[Metric]:
    starts = np.flatnonzero(np.diff(data.trip, prepend=-1))
    ends = np.append(starts[1:], len(data.trip))
    for percent, reference in REFERENCE.items():
        # The first position at or beyond that share of the path.
        rows = [
            min(start + int(np.searchsorted(data.progress[start:end], percent / 100)), end - 1)
            for start, end in zip(starts, ends, strict=True)
        ]
        for client, errors in ours.items():
            yield Metric(
                f"error at {percent} % of the way{client}, % of the ride",
                "Chengdu, unseen drivers, 5 folds",
                float(np.mean(errors[rows])),
                float(np.mean(rule[rows])),
                "estimate less elapsed",
                reference if client == TOLD else None,
                served=False,
            )
