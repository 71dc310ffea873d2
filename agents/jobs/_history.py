"""What a customer's purchases say of their staying: recency, frequency, money and rhythm, as of a time. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.jobs.job import Floats, History
from app.sql.bulk import Row

COLUMNS = (
    "silent_days",  # since the last purchase
    "purchase_days",  # days with a purchase; several on one day are one visit
    "spend_usd",
    "items",
    "mean_gap_days",  # between purchase days; NaN of those who came once
    "silence_ratio",  # silent_days by mean_gap_days
    "silence_share",  # silent_days by the days since the first purchase
    "activity",  # purchases, each weighted by exp(-age / 60 days)
    "trend",  # activity against what the customer's own average pace would give
    "usd_per_day",  # since 30 days before the first purchase, so that a new customer is not made a big one
)
"""What the model reads. Time since the first purchase is in the ratios only: by itself it would tie the model to the age
that the customers had when it was trained."""

MEMORY_DAYS = 60.0
"""How fast a purchase is forgotten by `activity`; 45 to 90 days are as good."""

HEADSTART_DAYS = 30.0
DAY_S = 86_400.0
_MOST_DAYS = 10**6  # later than any date there is


def purchase_features(history: History) -> Floats:
    """(n, 10), columns `COLUMNS`; a customer who bought nothing, or whose figures are no numbers, is NaN throughout.

    Rows are (customer, at, quantity, usd, ...), `at` None where there is no purchase.
    """
    count, index = len(history.ids), {subject: row for row, subject in enumerate(history.ids)}
    bought = [row for row in history.rows if row[1] is not None]
    owner = np.fromiter((index[row[0]] for row in bought), np.intp, len(bought))
    age, items, usd = (np.array(column, np.float64) for column in _columns(bought, history.as_of))
    days = _purchase_days(owner, age, count)
    silent, tenure = np.full(count, np.inf), np.zeros(count)
    np.minimum.at(silent, owner, age)
    np.maximum.at(tenure, owner, age)
    spend, pieces = (np.bincount(owner, weights, count) for weights in (usd, items))
    activity = np.bincount(owner, np.exp(-age / MEMORY_DAYS), count)
    with np.errstate(all="ignore"):  # those without purchases divide by zero, and are NaN in the end
        gap = np.where(days > 1, (tenure - silent) / np.maximum(days - 1, 1), np.nan)
        usual = days / (tenure + HEADSTART_DAYS) * MEMORY_DAYS
        share, trend = silent / np.maximum(tenure, 1), activity / usual
        ratio, pace = silent / np.maximum(gap, 1), spend / (tenure + HEADSTART_DAYS)
    features = np.column_stack([silent, days, spend, pieces, gap, ratio, share, activity, trend, pace])
    usable = (days > 0) & np.isfinite(spend) & np.isfinite(pieces)
    return np.where(usable[:, None], features, np.nan)


def _columns(bought: Sequence[Row], as_of: datetime) -> tuple[list[Any], list[Any], list[Any]]:
    """Ages in days, items, dollars."""
    now_s = as_of.timestamp()
    ages = [(now_s - row[1].timestamp()) / DAY_S for row in bought]
    return ages, [row[2] for row in bought], [row[3] for row in bought]


def _purchase_days(owner: NDArray[np.intp], age: Floats, count: int) -> Floats:
    """(n,): on how many days, counted back from the as-of time, each customer bought."""
    distinct = np.unique(owner * _MOST_DAYS + np.floor(age).astype(np.int64))
    return np.bincount(distinct // _MOST_DAYS, minlength=count).astype(np.float64)
