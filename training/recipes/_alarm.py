"""How the Fraud Detection Handbook judges an alarm (chapter 4), and the curve that makes a probability of its word."""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from training.boost import Floats
from training.data.handbook import Transactions

Rows = NDArray[np.int64]

CHECKED_PER_DAY = 100
"""Cards that investigators can look at in a day."""

_BINS = 60


def unknown_cards(bank: Transactions, train: tuple[date, date], test: tuple[date, date]) -> Rows:
    """The rows of the test days, without the cards that are known to be compromised by then.

    Those with a fraud in the days of training, and those with one up to a week before the day; as `get_train_test_set`
    of the handbook does it.
    """
    known = set(bank.card[bank.between(*train) & bank.fraud].tolist())
    delay = (test[0] - train[1]).days - 1
    rows = []
    for day in (test[0] + timedelta(days=n) for n in range((test[1] - test[0]).days + 1)):
        before = day - timedelta(days=delay + 1)
        known.update(bank.card[bank.between(before, before) & bank.fraud].tolist())
        today = np.flatnonzero(bank.between(day, day))
        rows.append(today[~np.isin(bank.card[today], list(known))])
    return np.concatenate(rows)


def card_precision(bank: Transactions, rows: Rows, said: Floats) -> float:
    """Of the cards with the highest alarms of each day, the share that has a fraud that day; a card found is done with."""
    found: set[int] = set()
    shares = []
    for day in np.unique(bank.day[rows]):
        today = (bank.day[rows] == day) & ~np.isin(bank.card[rows], list(found))
        cards, place = np.unique(bank.card[rows[today]], return_inverse=True)
        alarm, fraud = np.full(len(cards), -np.inf), np.zeros(len(cards), np.bool_)
        np.maximum.at(alarm, place, said[today])
        np.logical_or.at(fraud, place, bank.fraud[rows[today]])
        checked = np.argsort(-alarm, kind="stable")[:CHECKED_PER_DAY]
        hits = cards[checked][fraud[checked]]
        found.update(hits.tolist())
        shares.append(len(hits) / CHECKED_PER_DAY)
    return float(np.mean(shares))


def curve(said: Floats, fraud: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """What is found where the model says so: isotonic over bins that hold ever fewer, as the alarms do.

    Joined by straight lines that rise everywhere, so that no two alarms become equal which the model told apart.
    """
    order = np.argsort(said, kind="stable")
    ends = np.unique((len(said) * (1 - np.geomspace(1, 20 / len(said), _BINS))).astype(np.int64))
    bins = [part for part in np.split(order, ends[1:]) if len(part)]
    middle = np.array([said[part].mean() for part in bins])
    share = np.array([fraud[part].mean() for part in bins])
    smooth = IsotonicRegression().fit_transform(middle, share, sample_weight=[len(part) for part in bins])
    rising = smooth * (1 - 2e-4) + np.linspace(1e-6, 1e-4, len(bins))
    return np.r_[0.0, middle, 1.0], np.r_[0.0, rising, 1.0]
