"""`fraud`: the probability that a card transaction is a fraud, from what its card and its terminal did before.

What it knows of them is `agents._cards`; a transaction is answered when it comes and never again.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from agents._cards import Cards, Floats
from app.agent import agent
from app.boosting import LightGBMModel, lightgbm_model
from app.events import AnyTransaction, FraudReported, TransactionMade
from app.predictions import Details
from app.registry import Artifact


class Calibrated:
    """A booster whose word is read off a curve, so that of what it calls 10 %, one in ten is a fraud.

    Args:
        said: (k,) the booster's probabilities, growing.
        found: (k,) the share of frauds where it says so; in between, a straight line.
    """

    def __init__(self, booster: LightGBMModel, said: Floats, found: Floats) -> None:
        self._booster, self._said, self._found = booster, said, found

    def predict(self, features: Floats) -> Floats:
        """(n, 19) -> (n,), 0 to 1."""
        return np.interp(self._booster.predict(features), self._said, self._found)


def load(artifact: Artifact) -> Calibrated:
    """The model of an artifact of `training.recipes.fraud`."""
    curve = artifact.arrays("calibration.npz")
    return Calibrated(lightgbm_model(artifact), curve["said"], curve["found"])


def charges(_model: Calibrated, batch: Sequence[AnyTransaction], _features: Floats, _values: Floats) -> Details:
    """`app.predictions.Charge` of each: what is at stake is for the decision to weigh."""
    return Details(
        {
            "amount_usd": [each.amount_usd for each in batch],
            "terminal_id": [each.terminal_id for each in batch],
            "source": [each.source for each in batch],
        }
    )


@agent(
    "fraud",
    consumes=(TransactionMade,),
    hears=(FraudReported,),
    unit="probability",
    low=0,
    high=1,
    load=load,
    detail=charges,
    state=Cards,
    max_batch=8_192,
    within=timedelta(seconds=1),  # the bank's window: MILLRACE_WITHIN overrules it
)
def fraud(batch: Sequence[AnyTransaction], cards: Cards) -> Floats:
    """(n, 19): `agents._cards.COLUMNS`; NaN for a report, which only tells of its terminal."""
    return cards.extract(batch)
