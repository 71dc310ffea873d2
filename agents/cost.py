"""`cost`: what the ride will cost, before it begins: the fare by the meter, without tip, tolls and surcharges."""

from collections.abc import Sequence

from agents._calendar import Floats
from agents._trip import trip
from app.agent import agent
from app.events import RideRequested


# The dearest flat fare of the TLC's rate card is 70 $; beyond 500 $ the model has left its data.
@agent("cost", consumes=(RideRequested,), unit="usd", low=0, high=500)
def cost(batch: Sequence[RideRequested]) -> Floats:
    """(n, 16), the columns of `agents._trip`."""
    return trip(batch)
