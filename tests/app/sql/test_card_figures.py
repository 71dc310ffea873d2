"""Precision, recall and value, from the tallies."""

from app.costs import Costs
from app.sql.card_figures import figures
from app.sql.ledger import ChargeTally

COSTS = Costs(chargeback=25, review=5, block=50)


def test_nothing_is_known_of_nothing() -> None:
    made = figures([], COSTS)
    assert (made.precision, made.recall, made.saved_usd) == (None, None, 0.0)


def test_every_review_costs_and_finds_nine_frauds_in_ten() -> None:
    made = figures([ChargeTally("review", 10, 1, 975.0)], COSTS)
    assert (made.precision, made.recall) == (0.1, 1.0)
    assert made.saved_usd == 0.9 * 1000 - 50


def test_a_block_nobody_reported_costs_an_honest_customer() -> None:
    assert figures([ChargeTally("block", 3, 1, 75.0)], COSTS).saved_usd == 100 - 2 * 50


def test_what_was_missed_is_told_apart() -> None:
    made = figures([ChargeTally("allow", 50, 3, 90.0), ChargeTally("block", 1, 1, 10.0)], COSTS)
    assert (made.missed, made.missed_usd, made.caught, made.recall) == (3, 90.0, 1, 0.25)
    assert made.precision == 1.0


def test_a_report_without_its_decision_does_not_divide_by_nothing() -> None:
    assert figures([ChargeTally("allow", 0, 2, 10.0)], COSTS).recall == 0.0
