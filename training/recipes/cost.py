"""Recipe of `cost`: the metered fare, from what is known before the ride."""

from agents._trip import COLUMNS
from agents.cost import cost
from training.boost import mae, text
from training.recipe import Job, Trained, recipe
from training.recipes import _trips
from training.recipes._trips import TREES, Task

ROUNDS = 250
DEAREST_USD = 250.0  # above, the records are typing errors and meters left running

TASK = Task(
    target=lambda trips: trips.fare_usd,
    features=lambda trips: cost.features(trips.requests()),
    choice=lambda trips: (trips.fare_usd > 0) & (trips.fare_usd < DEAREST_USD),
    parameters={**TREES, "objective": "l1", "num_leaves": 127, "learning_rate": 0.1},
)


@recipe("cost", data=_trips.FILES, licence=_trips.LICENCE)
def train(job: Job) -> Trained:
    """Absolute error is what is minimised: a quote should be near for most riders, not right on average."""
    booster, rows = _trips.served(job, TASK, ROUNDS)
    throwaway = _trips.throwaway(job, TASK, ROUNDS)
    figures = {"MAE, $": (mae, None, 3.15)}
    return Trained(
        files={"model.txt": text(booster)},
        metrics=_trips.metrics(job, TASK, booster, throwaway, figures),
        rows=rows,
        split=_trips.SPLIT,
        about=(
            "What the meter of a New York green taxi will show at the end of the ride (US dollars; tip, tolls and "
            "surcharges not included), said before it begins, from where it goes and when."
        ),
        limits=(
            "Learned from green taxis; yellow taxis and app rides are priced differently.",
            "Fares follow the rate card of December 2022; after the next rise it is too low until it is trained again.",
            _trips.OUTSIDE,
            _trips.CHOSEN,
        ),
        features=COLUMNS,
    )
