"""The policy a what-if report asks: of each kind its own."""

import pytest

from app.decisions import Figure
from app.events import Kind
from app.settings import Settings
from cli.replay_report import on_cards, policy


@pytest.mark.parametrize(
    ("kind", "model", "value", "amount_usd", "action"),
    [
        ("transaction", "fraud", 0.01, 75.0, "allow"),
        ("transaction", "fraud", 0.3, 75.0, "review"),
        ("transaction", "fraud", 0.8, 75.0, "block"),
        ("transaction", "fraud", 0.3, 5000.0, "block"),
        ("ride", "cancellation", 0.9, 0.0, "confirm"),
    ],
)
def test_by_cost_for_cards_by_rule_for_the_others(
    kind: Kind, model: str, value: float, amount_usd: float, action: str
) -> None:
    figure = Figure(model=model, version="1", value=value, unit="probability", detail={"amount_usd": amount_usd})
    assert policy(Settings())(kind, {model: figure}) == action


def test_which_agents_answer_cards() -> None:
    assert [on_cards(name) for name in ("fraud", "cost", "spam")] == [True, False, False]
