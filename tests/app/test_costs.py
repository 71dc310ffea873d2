"""The choice that costs least."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs import CHOICES, Costs
from app.settings import Settings

COSTS = Costs(chargeback=25, review=5, block=50)
dollars = st.floats(0, 1_000_000)
shares = st.floats(0, 1)


def choice(probability: float, amount: float, costs: Costs = COSTS) -> str:
    return CHOICES[costs.choose(np.array([probability]), np.array([amount]))[0]]


@pytest.mark.parametrize(
    ("probability", "amount", "action"),
    [
        (0.0, 1_000_000, "allow"),
        (0.02, 50, "allow"),
        (0.02, 500, "review"),  # the same doubt about ten times the money
        (0.10, 50, "review"),
        (0.10, 10, "allow"),
        (0.50, 50, "review"),
        (0.80, 50, "block"),
        (0.50, 500, "block"),
        (1.0, 0, "block"),
    ],
)
def test_what_is_at_stake_decides_with_the_probability(probability: float, amount: float, action: str) -> None:
    assert choice(probability, amount) == action


@given(shares, dollars, st.builds(Costs, *3 * [st.floats(0, 1000)]))
def test_no_other_choice_costs_less(probability: float, amount: float, costs: Costs) -> None:
    expected = costs.expected(np.array([probability]), np.array([amount]))[:, 0]
    assert expected[CHOICES.index(choice(probability, amount, costs))] == expected.min()  # type: ignore[arg-type]  # an Action


@given(dollars, st.builds(Costs, *3 * [st.floats(0.01, 1000)]))
def test_the_thresholds_are_where_the_choice_changes(amount: float, costs: Costs) -> None:
    review_at, block_at = costs.thresholds(amount)
    assert 0 <= review_at <= block_at <= 1
    for low, high, action in ((0.0, review_at, "allow"), (review_at, block_at, "review"), (block_at, 1.0, "block")):
        if high - low > 1e-6:
            assert choice((low + high) / 2, amount, costs) == action


@given(st.lists(st.tuples(shares, dollars), max_size=20))
def test_a_batch_is_decided_as_one_by_one(rows: list[tuple[float, float]]) -> None:
    columns = np.array(rows).reshape(-1, 2)
    assert [CHOICES[i] for i in COSTS.choose(columns[:, 0], columns[:, 1])] == [choice(*row) for row in rows]


@given(dollars, shares, shares)
def test_more_doubt_never_softens_the_choice(amount: float, one: float, other: float) -> None:
    mild, hard = (CHOICES.index(choice(p, amount)) for p in sorted((one, other)))  # type: ignore[arg-type]  # an Action
    assert mild <= hard


def test_the_costs_are_the_settings() -> None:
    assert Costs.of(Settings(chargeback_usd=1, review_usd=2, block_usd=3)) == Costs(1, 2, 3)
