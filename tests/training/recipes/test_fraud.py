"""The fraud recipe's parts on made-up cases, and the shipped champion, partition by partition, on the test week."""

from datetime import timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from agents._cards import TERMINAL_DAYS
from app.agent import find
from app.bus import partition_of
from app.events import FraudReported
from app.registry import Registry, shipped_root
from training.data import handbook, ulb
from training.data.handbook import DAY_S, FIRST, Transactions
from training.recipes import _alarm, fraud

PARTITIONS = 4


def bank(rows: list[tuple[int, int, float, bool]]) -> Transactions:
    """Of (card, day, dollars, fraud)."""
    card, day, usd, frauds = zip(*rows, strict=True)
    return Transactions(
        np.array(card), np.zeros(len(card), np.int64), np.array(usd), np.array(day) * DAY_S, np.array(frauds)
    )


def test_cards_known_to_be_compromised_are_not_tested() -> None:
    train, test = (FIRST, FIRST + timedelta(days=6)), (FIRST + timedelta(days=14), FIRST + timedelta(days=15))
    rows = [
        (1, 3, 9.0, True),  # a fraud while training
        (2, 7, 9.0, True),  # known a week later: on the second test day
        (3, 13, 9.0, True),  # not known yet
        *((card, day, 9.0, False) for day in (14, 15) for card in (1, 2, 3, 4)),
    ]
    data = bank(rows)
    chosen = _alarm.unknown_cards(data, train, test)
    assert [(int(data.card[row]), int(data.day[row])) for row in chosen] == [
        (2, 14),
        (3, 14),
        (4, 14),
        (3, 15),
        (4, 15),
    ]


def test_card_precision_counts_each_card_once() -> None:
    data = bank([(card, day, 1.0, card < 50) for day in (0, 1) for card in range(300)])
    told = np.where(data.card < 50, 1.0, 0.0) + data.card / 1000
    # All fifty on the first day; on the second they are done with, and none is left to find.
    assert _alarm.card_precision(data, np.arange(len(data)), told) == pytest.approx((0.5 + 0.0) / 2)


def test_the_curve_rises_everywhere_and_tells_the_share_of_frauds() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(100_000) ** 8
    found = rng.random(100_000) < truth
    said, share = _alarm.curve(np.sqrt(truth), found)
    assert (np.diff(said) > 0).all()
    assert (np.diff(share) > 0).all()
    wrong = np.interp(np.sqrt(truth), said, share) - truth
    assert np.abs(wrong).mean() < 0.01


def test_the_stream_tells_every_transaction_and_later_its_fraud() -> None:
    data = bank([(1, 0, 9.0, True), (2, 3, 9.0, False), (3, 8, 9.0, True)])
    told = list(data.stream())
    assert [(row, isinstance(event, FraudReported)) for row, event in told] == [
        (0, False), (1, False), (0, True), (2, False), (2, True),
    ]  # fmt: skip
    assert told[2][1].at - told[0][1].at == handbook.REPORTED_AFTER


def test_the_champion_on_its_test_week_served_by_four_partitions(datasets: Path) -> None:
    """As live: each partition counts its own cards, and hears of every fraud."""
    agent, artifact = find("fraud"), Registry(shipped_root()).load("fraud")
    data = handbook.read(datasets / fraud.BANK)
    data = data.where(data.between(fraud.TEST[0] - timedelta(days=TERMINAL_DAYS), fraud.TEST[1]))
    states = [agent.state() for _ in range(PARTITIONS)]  # type: ignore[misc]  # it has a state
    model, said = agent.load(artifact), np.full(len(data), np.nan)
    partition = np.array([partition_of(f"c{card}".encode(), PARTITIONS) for card in range(data.card.max() + 1)])
    events = data.stream()
    while some := list(islice(events, 20_000)):
        for number, state in enumerate(states):
            mine = [
                (row, event)
                for row, event in some
                if isinstance(event, FraudReported) or partition[data.card[row]] == number
            ]
            values = agent.score(model, [event for _, event in mine], state).values
            made = ~np.isnan(values)
            said[np.array([row for row, _ in mine])[made]] = values[made]
    test = _alarm.unknown_cards(data, fraud.WEEK, fraud.TEST)
    stated = {m["name"]: m["value"] for m in artifact.manifest["metrics"] if m["served"]}
    # To the last digit but for the warm-up, which is shorter here.
    assert roc_auc_score(data.fraud[test], said[test]) == pytest.approx(stated["ROC AUC"], abs=1e-3)
    assert average_precision_score(data.fraud[test], said[test]) == pytest.approx(stated["average precision"], abs=1e-3)
    assert _alarm.card_precision(data, test, said[test]) >= 0.287


def test_ulbs_day_is_read_in_order(datasets: Path) -> None:
    features, frauds = ulb.read(datasets / fraud.ULB)
    assert features.shape == (15_519, 29)
    assert frauds.sum() == 272
