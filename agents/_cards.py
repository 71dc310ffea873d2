"""What is known of the cards of one partition, and of terminals: the state and the features of `fraud`.

After the Fraud Detection Handbook (Le Borgne et al. 2022, chapter 3.5), by calendar days instead of sliding windows: a
card's transactions over 1, 7 and 30 days, and how many at the terminal were reported as frauds over as many days before
the week it takes until one is known. See docs/fraud.md.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from agents._daily import UNKNOWN, Daily, Ints
from app.events import AnyTransaction, FraudReported, TransactionMade

Floats = NDArray[np.float64]

CARD_WINDOWS = (1, 7, 30)
"""Days, today included."""

TERMINAL_WINDOWS = (8, 14, 37)
"""Days, today included: those of the cards and the seven until a fraud is known, as in the handbook."""

LATE_DAYS = 8
"""What is up to so many days late is counted and sees full windows. Kafka keeps transactions for seven."""

CARD_DAYS, TERMINAL_DAYS = CARD_WINDOWS[-1] + LATE_DAYS, TERMINAL_WINDOWS[-1] + LATE_DAYS

CARDS = 50_000
"""Remembered per partition. A full snapshot has to fit its topic (tests/agents/test_cards.py); a bank with more cards has
more partitions."""

TERMINALS = 20_000
"""Remembered per partition, of those where there was a fraud; each partition knows them all."""

LAST_NIGHT_HOUR = 6  # night is 0:00 to 6:59, as in the handbook
_SATURDAY = 5
_INDEX_BITS = 24  # of a row within a batch, or of a table

COLUMNS = (
    "amount_usd",
    "weekend",
    "night",
    *(f"card_count_{days}d" for days in CARD_WINDOWS),
    *(f"card_mean_usd_{days}d" for days in CARD_WINDOWS),
    *(f"amount / card_mean_{days}d" for days in CARD_WINDOWS),
    *(f"card_mean_{days}d / card_mean_30d" for days in CARD_WINDOWS[:-1]),
    *(f"card_count_{days}d / card_count_30d" for days in CARD_WINDOWS[:-1]),
    *(f"terminal_frauds_{days}d" for days in CARD_WINDOWS),
)


class Cards:
    """The state: a fold over transactions and reports, commutative but for what is forgotten when too many cards come."""

    def __init__(self) -> None:
        self._cards = Daily(CARD_DAYS, CARDS)
        self._terminals = Daily(TERMINAL_DAYS, TERMINALS)

    def extract(self, events: Sequence[AnyTransaction]) -> Floats:
        """(n, 19): `COLUMNS` of each transaction, counting itself and what came before it; NaN for a report."""
        features = np.full((len(events), len(COLUMNS)), np.nan)
        start = 0
        for kind, same in groupby(events, type):
            run = list(same)
            if kind is TransactionMade:
                features[start : start + len(run)] = self._made(
                    [one for one in run if isinstance(one, TransactionMade)]
                )
            else:
                self._reported([one for one in run if isinstance(one, FraudReported)])
            start += len(run)
        return features

    def _made(self, events: Sequence[TransactionMade]) -> Floats:
        made = _columns(events, self._cards.take_in([event.card_id for event in events]))
        frauds = self._frauds([event.terminal_id for event in events], made.day)
        return _features(made, *self._history(made), frauds)

    def _history(self, made: "_Made") -> tuple[Ints, Ints]:
        """Counts and cents of each transaction's card over `CARD_WINDOWS`, (n, 3) each, up to the transaction itself.

        A run is what follows one another of a card on the same day. Cards know nothing of each other, so the first runs of
        all cards are counted at once, then the second ones...; in a batch of one day there is one round.
        """
        runs = _Runs(made)
        before_counts, before_cents = np.empty((2, len(runs.card), len(CARD_WINDOWS)), np.int64)
        for some in runs.rounds():
            card, day = runs.card[some], runs.day[some]
            runs.void(some[~self._cards.takes(card, day)])
            before_counts[some], before_cents[some] = self._cards.windows(card, day, CARD_WINDOWS)
            self._cards.add(card, day, runs.sizes[some], runs.cents[some])
        return runs.spread(before_counts, runs.places), runs.spread(before_cents, runs.running)

    def _frauds(self, terminals: Sequence[str], day: Ints) -> Ints:
        """(n, 3): how many frauds are known of each terminal."""
        frauds = np.zeros((len(terminals), len(TERMINAL_WINDOWS)), np.int64)
        rows = self._terminals.find(terminals)
        known = np.flatnonzero(rows != UNKNOWN)
        if len(known):
            frauds[known], _ = self._terminals.windows(rows[known], day[known], TERMINAL_WINDOWS)
        return frauds

    def _reported(self, events: Sequence[FraudReported]) -> None:
        rows = self._terminals.take_in([event.terminal_id for event in events])
        days = np.fromiter([event.made_at.toordinal() for event in events], np.int64, len(events))
        keyed, count = np.unique((days << _INDEX_BITS) | rows, return_counts=True)
        day, row = keyed >> _INDEX_BITS, keyed & ((1 << _INDEX_BITS) - 1)
        for some in np.split(np.arange(len(day)), np.flatnonzero(np.diff(day)) + 1):  # no bucket twice: day by day
            self._terminals.add(row[some], day[some], count[some], np.zeros(len(some), np.int64))

    def dump(self) -> bytes:
        return self._cards.dump() + self._terminals.dump()

    @classmethod
    def restore(cls, snapshot: bytes) -> Self:
        state = cls()
        state._cards, rest = Daily.restore(CARD_DAYS, CARDS, snapshot)
        state._terminals, _ = Daily.restore(TERMINAL_DAYS, TERMINALS, rest)
        return state


class _Made(NamedTuple):
    """Transactions as columns, (n,) each. Day and hour are by the clock the event tells, whatever its offset from UTC."""

    card: Ints
    day: Ints
    hour: Ints
    cents: Ints


class _Runs:
    """The transactions of a batch by card, and of a card by runs of the same day, in the order in which they came.

    Attributes:
        card, day, sizes, cents: (r,) of each run; `cents` is its sum.
        places, running: (n,) of each transaction, in the order of the runs: how many of its run there are, and their cents,
            up to itself.
    """

    def __init__(self, made: _Made) -> None:
        self._order = order = _by_card(made.card)
        card, day, cents = made.card[order], made.day[order], made.cents[order]
        new_card = np.r_[True, card[1:] != card[:-1]]
        starts = np.flatnonzero(new_card | np.r_[True, day[1:] != day[:-1]])
        self.card, self.day, self.sizes = card[starts], day[starts], np.diff(np.r_[starts, len(card)])
        total = np.cumsum(cents)
        self._single, self._first = cents, new_card[starts]
        self.running = total - np.repeat((total - cents)[starts], self.sizes)
        self.places = np.arange(len(card)) - np.repeat(starts, self.sizes) + 1
        self.cents = self.running[starts + self.sizes - 1]

    def rounds(self) -> Iterator[Ints]:
        """The first run of every card, then the second of every card that has one, and so on."""
        number = np.arange(len(self.card))
        rank = number - np.maximum.accumulate(np.where(self._first, number, 0))
        return iter(np.split(np.argsort(rank, kind="stable"), np.cumsum(np.bincount(rank))[:-1]))

    def void(self, runs: Ints) -> None:
        """These runs are too late to be counted: each of their transactions stands alone."""
        if len(runs):
            rows = np.flatnonzero(np.isin(np.repeat(np.arange(len(self.card)), self.sizes), runs))
            self.places[rows], self.running[rows] = 1, self._single[rows]

    def spread(self, before: Ints, own: Ints) -> Ints:
        """(n, 3), in the order of the batch: what was before each run, and what of it came up to each transaction."""
        spread = np.empty((len(own), before.shape[1]), np.int64)
        spread[self._order] = np.repeat(before, self.sizes, axis=0) + own[:, None]
        return spread


def _columns(events: Sequence[TransactionMade], card: Ints) -> _Made:
    count, at = len(events), [event.at for event in events]
    usd = np.fromiter([event.amount_usd for event in events], np.float64, count)
    return _Made(
        card,
        np.fromiter([one.toordinal() for one in at], np.int64, count),
        np.fromiter([one.hour for one in at], np.int64, count),
        np.rint(usd * 100).astype(np.int64),
    )


def _by_card(card: Ints) -> Ints:
    """Rows in the order of their cards, and of one card as they came; quicker than a stable sort."""
    keyed = (card << _INDEX_BITS) | np.arange(len(card))
    keyed.sort()
    return keyed & ((1 << _INDEX_BITS) - 1)


def _features(made: _Made, counts: Ints, cents: Ints, frauds: Ints) -> Floats:
    usd, means = made.cents / 100, cents / counts / 100
    nonzero = np.maximum(means, 0.005)  # a mean of 0 is of amounts of 0
    return np.column_stack(
        [
            usd,
            (made.day - 1) % 7 >= _SATURDAY,  # day 1 was a Monday
            made.hour <= LAST_NIGHT_HOUR,
            counts,
            means,
            usd[:, None] / nonzero,
            means[:, :-1] / nonzero[:, -1:],
            counts[:, :-1] / counts[:, -1:],
            frauds,
        ]
    )
