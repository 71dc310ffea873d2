"""What a decision on a card transaction costs, and the one that costs least. Pure.

`decision.cards` chooses by it; `gateway.status` reckons with the same costs what the decisions were worth.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.decisions import Action
from app.settings import Settings

Floats = NDArray[np.float64]

CHOICES: tuple[Action, ...] = ("allow", "review", "block")
"""From the mildest to the hardest; what costs the same is decided the milder way."""

FOUND = 0.9
"""Of the frauds that a person looks at, the share that is recognised: an assumption. One that is overlooked passes."""


@dataclass(frozen=True)
class Costs:
    """The bank's costs, US dollars.

    A fraud that passes costs its amount, as in Bahnsen et al., "Cost Sensitive Credit Card Fraud Detection using Bayes
    Minimum Risk" (ICMLA 2013, doi 10.1109/ICMLA.2013.68), and the chargeback; looking at a transaction costs the same
    whatever comes of it. That paper blocks nothing by itself; to block costs what an honest customer's annoyance costs.

    Attributes:
        chargeback: to handle one, whatever the amount.
        review: a person's time for one.
        block: an honest customer turned away: the call, the goodwill, now and then the customer.
    """

    chargeback: float
    review: float
    block: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.chargeback_usd, settings.review_usd, settings.block_usd)

    def expected(self, probability: Floats, amount: Floats) -> Floats:
        """What each choice costs on average: (n,) probabilities in [0, 1] and (n,) amounts -> (3, n), as `CHOICES`.

        Example:
            >>> Costs(25, 5, 50).expected(np.array([0.5]), np.array([75.0]))[:, 0].tolist()
            [50.0, 10.0, 25.0]
        """
        lost = probability * (amount + self.chargeback)
        return np.stack([lost, self.review + (1 - FOUND) * lost, (1 - probability) * self.block])

    def choose(self, probability: Floats, amount: Floats) -> NDArray[np.intp]:
        """The place in `CHOICES` of what costs least on average, (n,)."""
        cheapest: NDArray[np.intp] = np.argmin(self.expected(probability, amount), axis=0)
        return cheapest

    def thresholds(self, amount: float) -> tuple[float, float]:
        """The probabilities from which a transaction of this amount is reviewed, and blocked; equal where none is reviewed.

        Example:
            >>> ["%.3f" % at for at in Costs(25, 5, 50).thresholds(75)]
            ['0.056', '0.750']
        """
        lost = amount + self.chargeback
        block_at = self.block / (self.block + lost) if lost + self.block else 1.0
        review_at = self.review / (FOUND * lost) if lost else 1.0
        if review_at >= block_at:
            return block_at, block_at
        return review_at, max(0.0, (self.block - self.review) / (self.block + (1 - FOUND) * lost))
