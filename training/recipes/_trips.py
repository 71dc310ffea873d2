"""What the recipes on NYC trips share: which months, how they are weighed, how they are cut into train and test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from agents._trip import PLACE_COLUMNS, ZONE_COLUMNS
from training.boost import Floats, fit
from training.data.tlc import Trips, read
from training.recipe import Job, Metric

# February 2023 is replayed live as the test, so nothing of it, and nothing after it, is trained on. Traffic and (after
# the rise of December 2022) fares of 2023 differ from those of 2021, whose months still help with rare zone pairs.
WEIGHTS = {"2021-01": 0.2, "2021-02": 0.2, "2023-01": 1.0}
TEST = "2023-02"
FILES = tuple(f"rides/green_tripdata_{month}.parquet" for month in (*WEIGHTS, TEST))
LICENCE = (
    "Trip records of the NYC Taxi and Limousine Commission, public, published without a stated licence; "
    "the records themselves are not distributed with Millrace."
)
SPLIT = (
    "By time: green taxi trips of January and February 2021 (weight 0.2) and January 2023, tested on February 2023. "
    "Trips of 1 to 60 minutes within the month the file names."
)
OUTSIDE = "A ride that begins or ends outside the city is answered by distance and time alone: a rough figure."
CHOSEN = (
    "Settings were chosen, among some thirty tried, by their error on February 2021 and February 2023, the very months it is "
    "measured on: the figures flatter slightly."
)

# One ride in twenty is shown again without its places, so that a ride outside the city is answered by distance and time.
HIDDEN = 0.05

TREES = {
    "num_leaves": 63,
    "min_data_in_leaf": 40,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.6,
    "cat_smooth": 50,
    "cat_l2": 20,
}
"""Zones are categories, smoothed because most pairs are rare. How settings, objectives and the months' weights were
chosen is said by `CHOSEN`."""

Chosen = NDArray[np.bool_]
Choice = Callable[[Trips], Chosen]
Extract = Callable[[Trips], Floats]
Target = Callable[[Trips], Floats]

Figures = Mapping[str, tuple[Callable[[Floats, Floats], float], float | None, float | None]]
"""Measure -> its function, the reference on February 2023 and the one on February 2021."""


@dataclass(frozen=True)
class Task:
    """One figure of a trip to be learned.

    Attributes:
        target: what is to be learned, (n,).
        features: what from, (n, d).
        choice: which trips count.
        parameters: of LightGBM.
    """

    target: Target
    features: Extract
    choice: Choice
    parameters: Mapping[str, object]

    def chosen(self, trips: Trips) -> Trips:
        return trips.where(self.choice(trips))


def month(job: Job, name: str) -> Trips:
    """One month of green trips."""
    return read(job.path(f"rides/green_tripdata_{name}.parquet"))


def train_on(
    job: Job, task: Task, months: Mapping[str, float], rounds: int, done: Callable[[float], None] | None = None
) -> tuple[lightgbm.Booster, int]:
    """A booster trained on months of given weight, and its number of rows."""
    rng = np.random.default_rng(job.seed)
    trips = {name: task.chosen(month(job, name)) for name in months}
    if job.sample < 1:
        trips = {name: part.where(rng.random(len(part)) < job.sample) for name, part in trips.items()}
    features = np.vstack([task.features(part) for part in trips.values()])
    target = np.concatenate([task.target(part) for part in trips.values()])
    weight = np.concatenate([np.full(len(part), months[name]) for name, part in trips.items()])
    again = np.flatnonzero(rng.random(len(features)) < HIDDEN)
    hidden = features[again]
    hidden[:, PLACE_COLUMNS] = np.nan
    booster = fit(
        np.vstack([features, hidden]),
        np.concatenate([target, target[again]]),
        task.parameters,
        rounds=rounds,
        seed=job.seed,
        weight=np.concatenate([weight, weight[again]]),
        categorical=ZONE_COLUMNS,
        progress=done,
    )
    return booster, len(target)


def served(job: Job, task: Task, rounds: int) -> tuple[lightgbm.Booster, int]:
    """The model to be served, and its number of rows."""
    return train_on(job, task, WEIGHTS, rounds, lambda done: job.progress("training", done / 2))


def throwaway(job: Job, task: Task, rounds: int) -> lightgbm.Booster:
    """The same recipe on January 2021 alone, for the split of the reference."""
    return train_on(job, task, {"2021-01": 1.0}, rounds, lambda done: job.progress("reference", 0.5 + done / 2))[0]


def metrics(
    job: Job, task: Task, booster: lightgbm.Booster, reference: lightgbm.Booster, figures: Figures
) -> list[Metric]:
    """Each figure of the served model on the test month, then of the throwaway on February 2021."""
    return [*on_test(job, task, booster, figures), *on_reference(job, task, reference, figures)]


def on_test(job: Job, task: Task, booster: lightgbm.Booster, figures: Figures) -> list[Metric]:
    """Each figure of the served model on February 2023, which is replayed live."""
    past, now = month(job, "2023-01"), month(job, TEST)
    split = "green 2021-01, 2021-02, 2023-01 → 2023-02"
    return [
        Metric(measure, split, *pair, "median of the zone pair", later)
        for (measure, (_, later, _)), pair in zip(
            figures.items(), _errors(task, booster, past, now, figures), strict=True
        )
    ]


def on_reference(job: Job, task: Task, booster: lightgbm.Booster, figures: Figures, note: str = "") -> list[Metric]:
    """Each figure of a throwaway on February 2021, the split of the published figures."""
    past, now = month(job, "2021-01"), month(job, "2021-02")
    return [
        Metric(f"{measure}{note}", "green 2021-01 → 2021-02", *pair, "median of the zone pair", earlier, served=False)
        for (measure, (_, _, earlier)), pair in zip(
            figures.items(), _errors(task, booster, past, now, figures), strict=True
        )
    ]


def _errors(
    task: Task, booster: lightgbm.Booster, past: Trips, now: Trips, figures: Figures
) -> list[tuple[float, float]]:
    """Per figure: the model's error and the rule's."""
    predicted, truth = measured(task, now, booster)
    rule = pair_medians(task, past, now)
    return [(error(predicted, truth), error(rule, truth)) for error, _, _ in figures.values()]


def measured(task: Task, trips: Trips, booster: lightgbm.Booster) -> tuple[Floats, Floats]:
    """What the booster says of a month's trips, and what came out."""
    chosen = task.chosen(trips)
    return np.asarray(booster.predict(task.features(chosen), num_threads=2)), task.target(chosen)


def pair_medians(task: Task, train: Trips, test: Trips) -> Floats:
    """The rule a person would use: the median of earlier trips between the same zones; of all, where there are none."""
    past, now = task.chosen(train), task.chosen(test)
    target = task.target(past)
    pairs, place = np.unique(past.pickup * 1000 + past.dropoff, return_inverse=True)
    order = np.argsort(place, kind="stable")
    groups = np.split(target[order], np.cumsum(np.bincount(place))[:-1])
    medians = dict(zip(pairs.tolist(), map(np.median, groups), strict=True))
    overall = np.median(target)
    return np.array([medians.get(pair, overall) for pair in (now.pickup * 1000 + now.dropoff).tolist()])
