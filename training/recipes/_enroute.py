"""The half of `duration` that corrects: learned from trajectories, city by city unlike, so in ratios only.

The pre-trip estimate it corrects is in service that of the NYC model; here, one learned from other drivers' trips.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
"""Percent of the path -> mean error, % of the trip's time, unseen drivers (a plain LightGBM on the same data, told the
share of the path that has been driven: without it, a fall from 39 to 19 % within a quarter of the way is out of reach)."""

ROUNDS, ESTIMATE_ROUNDS, FOLDS = 150, 60, 5
ZONE_SIGMA_KM = 0.6  # how far a drop-off lies from the centroid of its zone, in each direction: zones are 1-2 km wide
_TREES = {"num_leaves": 15, "min_data_in_leaf": 60, "bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.6}
# Absolute error, weighed by 1 / the trip's time: the measure itself.
MOVING = {**_TREES, "objective": "l1", "learning_rate": 0.07}
ESTIMATE = {**_TREES, "objective": "l1", "learning_rate": 0.08, "min_data_in_leaf": 20}
_EXACT = RAW.index("exact")
ZONED, TOLD = ", drop-off known to the zone", ", path length told"


@dataclass(frozen=True)
class Positions:
    """n positions of m trips.

    Attributes:
        trip: (n,) which trip a position belongs to.
        raw: (n, 6) of `agents._enroute.RAW`.
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


Extract = Callable[[Positions, NDArray[np.int64], Floats], Floats]
"""Positions, the rows wanted, their estimates, minutes -> (n, d)."""


def by_crow(data: Positions, rows: NDArray[np.int64], estimate: Floats) -> Floats:
    """What is served: the way that remains as the crow flies."""
    return relative(data.raw[rows], estimate)


def told_path(data: Positions, rows: NDArray[np.int64], estimate: Floats) -> Floats:
    """The reference's setting: which share of its path the car has driven is known. Measured, never served."""
    elapsed, travelled, _, direct, recent, _ = data.raw[rows].T
    progress = np.maximum(data.progress[rows], 0.01)
    path = np.maximum(travelled, 0.01) / progress
    at_recent_pace = path * (1 - progress) / np.maximum(recent, 3.0) * 60 / estimate
    ratios = [progress, path / np.maximum(direct, 0.2), elapsed / progress / estimate, at_recent_pace]
    return np.column_stack([by_crow(data, rows, estimate), *ratios, path])


def learn(
    copies: list[Positions], trips: NDArray[np.int64], expected: Floats, seed: int, extract: Extract = by_crow
) -> lightgbm.Booster:
    """The correcting booster: remaining time as a share of the estimate, from the given trips."""
    features, target, weight = [], [], []
    for offset, data in enumerate(copies):
        # Every third position: neighbours say nearly the same.
        rows = np.flatnonzero(np.isin(data.trip, trips) & (np.arange(len(data.trip)) % 3 == offset))
        estimate = expected[data.trip[rows]]
        features.append(extract(data, rows, estimate))
        target.append(data.remaining_min[rows] / estimate)
        weight.append(estimate / data.total_min[data.trip[rows]] / np.bincount(data.trip)[data.trip[rows]])
    told, share, weights = (np.concatenate(parts) for parts in (features, target, weight))
    return fit(told, share, MOVING, rounds=ROUNDS, seed=seed, weight=weights)


def train(job: Job) -> tuple[lightgbm.Booster, list[Metric]]:
    """The booster trained on every trip, and how the recipe fares on drivers it has not seen."""
    trips = chengdu.read(job.path(FILE))
    trips = trips[: max(round(len(trips) * job.sample), 50)]
    rng = np.random.default_rng(job.seed)
    exact = positions(trips, [chengdu.Shift()] * len(trips), exact=True)
    zoned = positions(trips, chengdu.shifts(len(trips), ZONE_SIGMA_KM, rng), exact=False)
    everything = np.arange(len(trips))
    booster = learn([exact, zoned], everything, estimates(exact, everything, job.seed), job.seed)
    return booster, list(_metrics(exact, *_errors(exact, zoned, job.seed)))


def _errors(exact: Positions, zoned: Positions, seed: int) -> tuple[dict[str, Floats], Floats]:
    """Per variant, and of the rule: error at each position, % of the trip's time; each trip by a model of other drivers."""
    ours = {name: np.full(len(exact.trip), np.nan) for name in ("", ZONED, TOLD)}
    rule = np.full(len(exact.trip), np.nan)
    for train_on, test_on in GroupKFold(FOLDS).split(exact.total_min, groups=exact.driver):
        expected = estimates(exact, train_on, seed)
        rows = np.flatnonzero(np.isin(exact.trip, test_on))
        estimate, total = expected[exact.trip[rows]], exact.total_min[exact.trip[rows]]

        def wrong(minutes: Floats, rows: NDArray[np.int64] = rows, total: Floats = total) -> Floats:
            return np.abs(np.maximum(minutes, 0) - exact.remaining_min[rows]) / total * 100

        served = learn([exact, zoned], train_on, expected, seed)
        told = learn([exact], train_on, expected, seed, told_path)
        ours[""][rows] = wrong(np.asarray(served.predict(by_crow(exact, rows, estimate))) * estimate)
        ours[ZONED][rows] = wrong(np.asarray(served.predict(by_crow(zoned, rows, estimate))) * estimate)
        ours[TOLD][rows] = wrong(np.asarray(told.predict(told_path(exact, rows, estimate))) * estimate)
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
        for variant, errors in ours.items():
            yield Metric(
                f"error at {percent} % of the way{variant}, % of the ride",
                "Chengdu, unseen drivers, 5 folds",
                float(np.mean(errors[rows])),
                float(np.mean(rule[rows])),
                "estimate less elapsed",
                reference if variant == TOLD else None,
                served=False,
            )
