"""`tip`: what the rider will tip, before the ride begins.

The TLC records tips by card only: of a cash ride it knows 0, so that is the answer there, by rule and not by model.
"""

from collections.abc import Sequence

import numpy as np

from agents._calendar import Floats
from agents._trip import COLUMNS, trip
from app.agent import agent
from app.boosting import LightGBMModel, lightgbm_model
from app.events import RideRequested
from app.registry import Artifact

CARD_COLUMN = len(COLUMNS)
"""1 for a ride paid by card, 0 for cash; the booster sees only the columns before it."""


class CardTips:
    """The booster's word on card rides, 0 on the others."""

    def __init__(self, booster: LightGBMModel) -> None:
        self._booster = booster

    def predict(self, features: Floats) -> Floats:
        """(n, 17) -> (n,), dollars."""
        tips = np.maximum(self._booster.predict(np.ascontiguousarray(features[:, :CARD_COLUMN])), 0.0)
        return np.where(features[:, CARD_COLUMN] == 1, tips, 0.0)


def load(artifact: Artifact) -> CardTips:
    """The model of an artifact of `training.recipes.tip`."""
    return CardTips(lightgbm_model(artifact))


@agent("tip", consumes=(RideRequested,), unit="usd", low=0, high=200, load=load)
def tip(batch: Sequence[RideRequested]) -> Floats:
    """(n, 17): the columns of `agents._trip`, then whether the ride is paid by card."""
    card = np.fromiter((event.payment == "card" for event in batch), np.float64, len(batch))
    return np.column_stack([trip(batch), card])
