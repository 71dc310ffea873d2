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
_INDEX_BITS = 24  # of a row within a batch

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
        order = _by_card(made.card)
        history = np.concatenate([self._fold(made.part(part)) for part in _steady(made, order)])
        return _features(made, history, frauds)

    def _fold(self, made: "_Made") -> Ints:
        """(n, 3, 2): each card's counts and cents over its windows; no card may change its day within these."""
        order = _by_card(made.card)
        card, day = made.card[order], made.day[order]
        starts = np.flatnonzero(np.r_[True, card[1:] != card[:-1]])
        sizes = np.diff(np.r_[starts, len(card)])
        entries = np.stack([np.ones_like(card), made.cents[order]], axis=1)
        running = np.cumsum(entries, axis=0)
        sofar = running - np.repeat((running - entries)[starts], sizes, axis=0)
        taken = self._cards.takes(card[starts], day[starts])
        if not taken.all():  # what is too late to be counted is not counted for its followers either
            sofar = np.where(np.repeat(taken, sizes)[:, None], sofar, entries)
        before = self._cards.windows(card[starts], day[starts], CARD_WINDOWS)
        self._cards.add(card[starts], day[starts], sofar[starts + sizes - 1])
        history = np.empty((len(card), len(CARD_WINDOWS), 2), np.int64)
        history[order] = np.repeat(before, sizes, axis=0) + sofar[:, None]
        return history

    def _frauds(self, terminals: Sequence[str], day: Ints) -> Ints:
        """(n, 3): how many frauds are known of each terminal."""
        frauds = np.zeros((len(terminals), len(TERMINAL_WINDOWS)), np.int64)
        rows = self._terminals.find(terminals)
        known = np.flatnonzero(rows != UNKNOWN)
        frauds[known] = self._terminals.windows(rows[known], day[known], TERMINAL_WINDOWS)[..., 0]
        return frauds

    def _reported(self, events: Sequence[FraudReported]) -> None:
        rows = self._terminals.take_in([event.terminal_id for event in events])
        one = np.array([[1, 0]])
        for row, event in zip(rows, events, strict=True):
            self._terminals.add(np.array([row]), np.array([event.made_at.toordinal()]), one)

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

    def part(self, rows: slice) -> "_Made":
        return _Made(*(column[rows] for column in self))


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


def _steady(made: _Made, order: Ints) -> Iterator[slice]:
    """The batch in as few parts as it takes for no card to change its day within one; mostly it is one."""
    earlier, later = order[:-1], order[1:]
    changes = (made.card[earlier] == made.card[later]) & (made.day[earlier] != made.day[later])
    start = 0
    for row, previous in sorted(zip(later[changes].tolist(), earlier[changes].tolist(), strict=True)):
        if previous >= start:
            yield slice(start, row)
            start = row
    yield slice(start, len(made.card))


def _features(made: _Made, history: Ints, frauds: Ints) -> Floats:
    usd, counts = made.cents / 100, history[..., 0].astype(np.float64)
    means = history[..., 1] / counts / 100
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
