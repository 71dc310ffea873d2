"""The CDNOW log: what 23,570 customers of a record shop, all new in the first quarter of 1997, bought in that year."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.jobs.customers import Purchase, read_log
from app.jobs.job import History


@dataclass(frozen=True)
class Log:
    """The whole log, to look at as of any time."""

    purchases: list[Purchase]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `ConfigurationError` naming the line that is no purchase."""
        return cls(list(read_log(path)))

    def until(self, as_of: datetime) -> History:
        """The customers who had bought something by then, and what."""
        past = sorted(purchase for purchase in self.purchases if purchase.at < as_of)
        return History(list(dict.fromkeys(purchase.customer_id for purchase in past)), past, as_of)

    def stayed(self, history: History, days: int) -> NDArray[np.bool_]:
        """(n,): whether each customer bought something in so many days from the as-of time on."""
        end = history.as_of + timedelta(days=days)
        came = {purchase.customer_id for purchase in self.purchases if history.as_of <= purchase.at < end}
        return np.array([customer in came for customer in history.ids])
