"""What was decided on card transactions, asked for on its topic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app import codec
from app.bus import Outgoing
from app.decisions import Action, DecisionBatch
from app.modes.replay.known import OnCards
from app.sql.whatif import Replayed, Then
from app.testing import START
from app.topics import CARD_DECISIONS


def decided(name: str, values: Sequence[float], actions: Sequence[Action]) -> DecisionBatch:
    ids = [f"{name}-{row}" for row in range(len(values))]
    return DecisionBatch(
        kind="transaction",
        model="fraud",
        version="1",
        unit="probability",
        at=START,
        partition=0,
        offset=0,
        event_id=ids,
        subject_id=ids,
        user_id=[f"u{row}" for row in range(len(values))],
        value=list(values),
        action=list(actions),
    )


def answer(name: str, row: int, user: str = "", amount: bool = True) -> Replayed:
    detail: dict[str, object] = {"amount_usd": 12.5} if amount else {}
    event_id = f"{name}-{row}"
    return Replayed(user or f"u{row}", event_id, event_id, "initial", 0.5, 1_700_000_000_000_000, None, detail)


async def test_the_first_decision_on_each_of_ones_own_transactions(stage: Any, tmp_path: Path) -> None:
    name, partitions = stage.name, stage.settings.partitions
    first = decided(name, [0.1, 0.9], ["allow", "block"])
    again = decided(name, [0.2, 0.8, 0.3], ["review", "review", "review"])
    for batch in (first, again):
        await stage.put([Outgoing(CARD_DECISIONS.name, None, codec.encode(batch), (), 0)])
    with OnCards(tmp_path) as known:
        await known.read(stage.settings.kafka, partitions)
        rows = [answer(name, row) for row in range(4)]
        then = known(rows)
        found = [then(row) for row in rows]
        assert then(answer(name, 1, user="somebody")) == then(answer(name, 1, amount=False)) == Then()
    assert [each.value for each in found] == [0.1, 0.9, 0.3, None]
    assert [each.decision and each.decision.action for each in found] == ["allow", "block", "review", None]
    assert found[1].decision is not None
    (figure,) = found[1].decision.predictions
    assert (figure.model, figure.value, figure.detail) == ("fraud", 0.9, {"amount_usd": 12.5})
