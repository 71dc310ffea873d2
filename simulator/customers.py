"""Customers and what they buy, made up or from the CDNOW log, straight into the source database of the scheduled jobs.

Made-up customers behave as the BG/NBD model says (Fader, Hardie and Lee 2005): each buys at a pace of their own until, after
some purchase, they are gone for good. What they spend follows the gamma-gamma model (Fader and Hardie 2013). The parameters are
those the authors found for CDNOW.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from sqlalchemy import Engine, func, select

from app.errors import ConfigurationError
from app.jobs.customers import SETTING, customers, purchases, read_log
from app.sql import bulk
from app.sql.engine import answering, whereabouts

PACE_SHAPE, PACE_SCALE_WEEKS = 0.243, 4.414
GONE_A, GONE_B = 0.793, 2.426
SPEND_P, SPEND_Q, SPEND_GAMMA = 6.25, 3.74, 15.44
USD_PER_ITEM = 14.0
CONSENT = 0.9  # the share that may be sent offers; an assumption
JOINING = 0.25  # all join within this share of the time, as CDNOW's did in the first quarter of theirs
_AT_ONCE = 10_000

Told = Callable[[int], None]
"""Told how many purchases have been written."""


@dataclass(frozen=True)
class People:
    """Customers to make up; the same ones for the same values.

    Attributes:
        start: when the first may join; `end` is when the last purchase may be.
    """

    count: int
    start: datetime
    end: datetime
    seed: int = 0

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ConfigurationError(f"--start {self.start:%Y-%m-%d}: customers need some past to have bought in")


def fill(engine: Engine, people: People, told: Told) -> tuple[int, int]:
    """Write made-up customers; how many, and how many purchases. Raises `ConfigurationError` where there are some already."""
    rng = np.random.default_rng(people.seed)
    bought = 0
    with answering(whereabouts(engine.url, SETTING)), engine.begin() as connection:
        _refuse_full(connection)
        for first in range(0, people.count, _AT_ONCE):
            ids = [f"c{number:07}" for number in range(first, min(first + _AT_ONCE, people.count))]
            joined_s, owner, at_s = _visits(rng, len(ids), (people.end - people.start).total_seconds())
            items, usd = _baskets(rng, len(ids), owner)
            consents = rng.random(len(ids)) < CONSENT
            joined = (people.start + timedelta(seconds=second) for second in joined_s.tolist())
            bulk.load(connection, customers, zip(ids, joined, consents.tolist(), strict=True))
            buyers = [ids[row] for row in owner.tolist()]
            times = [people.start + timedelta(seconds=second) for second in at_s.tolist()]
            numbers = (f"p{bought + number:09}" for number in range(len(buyers)))
            bulk.load(connection, purchases, zip(numbers, buyers, times, items.tolist(), usd.tolist(), strict=True))
            bought += len(buyers)
            told(bought)
    return people.count, bought


def load_log(engine: Engine, path: Path, told: Told) -> tuple[int, int]:
    """Write the customers and purchases of a log like CDNOW's (`customer_id,date,cds,usd`).

    A customer joins with their first purchase and may be contacted, for the log says nothing of it. Returns how many
    customers, and how many purchases. Raises `ConfigurationError` naming the line that is no purchase.
    """
    joined: dict[str, datetime] = {}
    for purchase in read_log(path):
        joined[purchase.customer_id] = min(purchase.at, joined.get(purchase.customer_id, purchase.at))
    with answering(whereabouts(engine.url, SETTING)), engine.begin() as connection:
        _refuse_full(connection)
        bulk.load(connection, customers, ((customer, at, True) for customer, at in joined.items()))
        numbered = ((f"line {number}", *purchase) for number, purchase in enumerate(read_log(path), 2))
        count = bulk.load(connection, purchases, _counted(numbered, told))
    return len(joined), count


def _visits(rng: Generator, count: int, seconds: float) -> tuple[Any, Any, Any]:
    """When each customer joined (n,), and whose purchase (m,) was when (m,); seconds since the start."""
    week_s = 7 * 86_400
    pace = rng.gamma(PACE_SHAPE, 1 / PACE_SCALE_WEEKS, count)
    stop = rng.beta(GONE_A, GONE_B, count)
    at = rng.uniform(0, seconds * JOINING, count)
    joined, alive = at.copy(), np.arange(count)
    owners, times = [alive], [at]
    while len(alive):
        at = at + rng.exponential(week_s / np.maximum(pace[alive], 1e-12))
        stays = at < seconds
        alive, at = alive[stays], at[stays]
        owners.append(alive)
        times.append(at)
        goes_on = rng.random(len(alive)) >= stop[alive]
        alive, at = alive[goes_on], at[goes_on]
    return joined, np.concatenate(owners), np.concatenate(times)


def _baskets(rng: Generator, count: int, owner: Any) -> tuple[Any, Any]:
    """Items and dollars (m,) of each purchase: around a size that is the customer's own."""
    size = rng.gamma(SPEND_Q, 1 / SPEND_GAMMA, count)
    usd = np.round(rng.gamma(SPEND_P, 1 / size[owner]), 2)
    return np.maximum(1, np.rint(usd / USD_PER_ITEM)).astype(int), usd


def _refuse_full(connection: Any) -> None:
    there = connection.execute(select(func.count()).select_from(customers)).scalar_one()
    if there:
        raise ConfigurationError(
            f"MILLRACE_CUSTOMERS: the database holds {there:,} customers already; name an empty one, or delete this one"
        )


def _counted(rows: Iterator[Any], told: Told) -> Iterator[Any]:
    for number, row in enumerate(rows, 1):
        yield row
        if number % _AT_ONCE == 0:
            told(number)
