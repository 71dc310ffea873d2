"""Recipe of `tip`: what card riders tip, from what is known before the ride."""

from functools import partial

import numpy as np

from agents._trip import COLUMNS, trip
from training.boost import Floats, mae, text
from training.data.tlc import CARD, Trips
from training.recipe import Job, Metric, Trained, recipe
from training.recipes import _trips
from training.recipes._trips import TREES, Task

ROUNDS = 200
MOST_USD = 50.0  # above, the records are typing errors


def _paid_by_card(trips: Trips) -> _trips.Chosen:
    plausible = (trips.fare_usd > 0) & (trips.tip_usd >= 0) & (trips.tip_usd < MOST_USD)
    return np.asarray(plausible & (trips.payment == CARD), np.bool_)


def _at_dropoff(trips: Trips) -> Floats:
    return np.column_stack([trip(trips.requests()), trips.fare_usd, trips.duration_min, trips.distance_km])


TASK = Task(
    target=lambda trips: trips.tip_usd,
    features=lambda trips: trip(trips.requests()),
    choice=_paid_by_card,
    # Tips heap at nothing and at round shares of the fare: fair loss, c = 2 $, leans to the median without its jumps.
    parameters={**TREES, "objective": "fair", "fair_c": 2, "learning_rate": 0.06},
)


@recipe("tip", data=_trips.FILES, licence=_trips.LICENCE)
def train(job: Job) -> Trained:
    """Serves the pre-trip model; the reference was measured at drop-off, so such a model is measured too."""
    booster, rows = _trips.served(job, TASK, ROUNDS)
    throwaway = _trips.throwaway(job, TASK, ROUNDS)
    return Trained(
        files={"model.txt": text(booster)},
        metrics=[
            *_trips.metrics(job, TASK, booster, throwaway, {"MAE before the ride, $": (mae, None, None)}),
            _dropoff(job),
        ],
        rows=rows,
        split=f"{_trips.SPLIT} Rides paid by card only.",
        about=(
            "What a rider who pays by card will tip (US dollars), said before the ride begins. For a cash ride it says "
            "0, for the TLC records no cash tips: 0 is what will be found in the records, not what the driver gets."
        ),
        limits=(
            "Half of what decides a tip is the rider, of whom it knows nothing.",
            "Said before the ride, so without the fare: the same model told the fare at drop-off errs less (see above).",
            _trips.OUTSIDE,
            _trips.CHOSEN,
        ),
        features=(*COLUMNS, "card"),
    )


def _dropoff(job: Job) -> Metric:
    """The reference's setting: fare, duration and distance of the finished ride are known. Never served."""
    task = Task(TASK.target, _at_dropoff, TASK.choice, TASK.parameters)
    test = _trips.month(job, "2021-02")
    predicted, truth = _trips.measured(task, test, _trips.throwaway(job, task, ROUNDS))
    median = np.median(task.target(task.chosen(_trips.month(job, "2021-01"))))
    metric = partial(Metric, "MAE at drop-off, $", "green 2021-01 → 2021-02", rule="constant median", served=False)
    return metric(mae(predicted, truth), mae(np.full_like(truth, median), truth), reference=1.17)
