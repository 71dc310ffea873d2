"""A bank's customers and terminals, and the transactions they make: the generative model of the Fraud Detection Handbook.

Le Borgne et al., "Reproducible Machine Learning for Credit Card Fraud Detection", chapter 3: customers and terminals on
a plane, each customer with a spending profile and the terminals within reach; three scenarios of fraud. Vectorised, in
event time; `flood` sends what it draws as records, `transactions` as events.
"""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import ndtr

from app.events import Source

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SOURCES: tuple[Source, ...] = get_args(Source)
SHARES = (0.15, 0.25, 0.60)
"""Of cash machines, web shops and tills among the terminals. The handbook knows one kind; these are ours."""

DAY_S = 86_400
PER_CARD_AND_DAY = 2.0
"""Transactions: the mean of the handbook's uniform 0 to 4."""

REPORTED_AFTER_DAYS = 7
"""How long after the transaction its fraud is known: the handbook's delay period."""

_SIDE, _TERMINALS, _TERMINALS_PER_CUSTOMER, _REACH = 100.0, 10_000, 2, 5.0
MOST_TERMINALS = 20_000
"""Twice the handbook's. Its two terminals to a customer hold for a village; a bank has many more cards than terminals."""

_MOST_NEAR = 64
"""Terminals in a customer's reach, at most; the handbook's density puts 79 there on average."""

_LARGE_USD = 220.0
_TERMINALS_A_DAY, _TERMINAL_DAYS = 2 / 10_000, 28
_CUSTOMERS_A_DAY, _CUSTOMER_DAYS = 3 / 5_000, 14
_STOLEN_SHARE, _STOLEN_FACTOR = 1 / 3, 5.0
_LARGEST_USD = 9_999.99
_LONG_AGO = 1_000_000


@dataclass(frozen=True)
class Drawn:
    """n transactions in order of event time, a column each.

    Attributes:
        day: when, in days since the start: the integer part counts days, see `Bank.seconds` for the rest.
        card, terminal: numbers from 0.
        cents: the amount, in US cents.
        scenario: 0 where it is no fraud, else the handbook's scenario 1 to 3.
    """

    day: Floats
    card: Ints
    terminal: Ints
    cents: Ints
    scenario: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.card)

    def where(self, rows: NDArray[np.bool_] | Ints) -> "Drawn":
        """Some of them."""
        return Drawn(self.day[rows], self.card[rows], self.terminal[rows], self.cents[rows], self.scenario[rows])


class Bank:
    """So many customers with a card each, and twice as many terminals (`MOST_TERMINALS` at most) at the handbook's density.

    Args:
        cards: how many.
        seed: the same one makes the same bank, and the same terminals and cards are abused on the same days.

    Example:
        >>> import numpy as np
        >>> drawn = Bank(100, seed=1).draw(np.linspace(0, 10, 2000), np.random.default_rng(1))
        >>> bool((drawn.cents[drawn.scenario == 0] <= 22_000).all())
        True
    """

    def __init__(self, cards: int, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 0])
        self.cards, self.terminals = cards, min(cards * _TERMINALS_PER_CUSTOMER, MOST_TERMINALS)
        self._seed, self._day = seed, -1
        side = _SIDE * (self.terminals / _TERMINALS) ** 0.5
        homes, places = rng.uniform(0, side, (cards, 2)), rng.uniform(0, side, (self.terminals, 2))
        self.source = rng.choice(len(SOURCES), self.terminals, p=SHARES).astype(np.int64)
        self._mean = rng.uniform(5, 100, cards)
        self._habit = rng.uniform(0, 2 * PER_CARD_AND_DAY, cards)
        self._near, self._n_near = _within_reach(homes, places)
        self._deal(0, 1)

    def dealt(self, first: int, step: int) -> "Bank":
        """The same bank, which draws transactions of every so many-th card only; the terminals are everybody's."""
        part = copy.copy(self)
        part._deal(first, step)  # noqa: SLF001 - one of us
        return part

    def draw(self, day: Floats, rng: np.random.Generator) -> Drawn:
        """One transaction at each of these moments, which only ever grow from call to call."""
        n = len(day)
        self._reach(int(day[-1]) if n else self._day)
        own = np.searchsorted(self._often, rng.random(n) * self._often[-1], side="right")
        card = own * self._share[1] + self._share[0]
        terminal = self._near[card, (rng.random(n) * self._n_near[card]).astype(np.int64)]
        mean = self._mean[card]
        usd = rng.normal(mean, mean / 2)
        usd = np.where(usd < 0, rng.uniform(0, 2 * mean), usd)
        today = day.astype(np.int64)
        scenario = (usd > _LARGE_USD).astype(np.int8)
        scenario[_within(today, self._terminal_since[terminal], _TERMINAL_DAYS)] = 2
        stolen = _within(today, self._card_since[card], _CUSTOMER_DAYS) & (rng.random(n) < _STOLEN_SHARE)
        scenario[stolen] = 3
        usd[stolen] *= _STOLEN_FACTOR
        cents = np.rint(np.clip(usd, 0.01, _LARGEST_USD) * 100).astype(np.int64)
        return Drawn(day, card, terminal, cents, scenario)

    def seconds(self, day: Floats) -> Floats:
        """Event time in seconds since the start's midnight.

        Of a day's transactions most are made around noon (normal, standard deviation 20,000 s, as in the handbook). A
        steady stream keeps that shape if event time runs faster through the night: this is the quantile function.
        """
        whole = np.floor(day)
        result: Floats = whole * DAY_S + np.interp(day - whole, *self._quantiles)
        return result

    @cached_property
    def _quantiles(self) -> tuple[Floats, Floats]:
        at = np.linspace(0, DAY_S, 289)
        share = ndtr((at - DAY_S / 2) / 20_000)
        return (share - share[0]) / (share[-1] - share[0]), at

    def _deal(self, first: int, step: int) -> None:
        self._share = first, step
        self._often = np.cumsum(self._habit[first::step])
        self._terminal_since = np.full(self.terminals, -_LONG_AGO, dtype=np.int64)
        self._card_since = np.full(self.cards, -_LONG_AGO, dtype=np.int64)

    def _reach(self, day: int) -> None:
        """Terminals and cards fall into wrong hands day by day; the first day inherits what the days before left."""
        for each in range(self._day + 1 if self._day >= 0 else -_TERMINAL_DAYS, day + 1):
            rng = np.random.default_rng([self._seed, 1, each + _TERMINAL_DAYS])
            for since, share in ((self._terminal_since, _TERMINALS_A_DAY), (self._card_since, _CUSTOMERS_A_DAY)):
                since[rng.integers(0, len(since), rng.poisson(share * len(since)))] = each
        self._day = max(self._day, day)


def _within(today: Ints, since: Ints, days: int) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (since <= today) & (today < since + days)
    return result


def _within_reach(homes: Floats, places: Floats) -> tuple[Ints, Ints]:
    """Of each customer the nearest terminals, `_MOST_NEAR` columns, and how many of them are in reach (one at least)."""
    distance, near = cKDTree(places).query(homes, k=min(_MOST_NEAR, len(places)))
    return near.astype(np.int64), np.maximum((distance <= _REACH).sum(axis=1), 1)
