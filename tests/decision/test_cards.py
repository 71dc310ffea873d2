"""Predictions on transactions become decisions: checked, judged by what is at stake, told with their reasons."""

import json
from typing import Any

import pytest

from app import codec
from app.codec import Record
from app.costs import CHOICES, Costs
from app.decisions import Decision, DecisionBatch
from app.predictions import Prediction, PredictionBatch
from app.testing import START
from decision import cards
from decision.cards import Sheet

COSTS = Costs(chargeback=25, review=5, block=50)


def prediction(name: str = "1", value: float = 0.01, amount: float = 50.0, **fields: object) -> Prediction:
    said = {
        "event_id": f"e{name}", "subject_id": f"t{name}", "user_id": "u", "kind": "transaction", "model": "fraud",
        "version": "1", "value": value, "unit": "probability", "topic": "transactions.pos", "partition": 1, "offset": 7,
        "event_at": START, "at": START, "latency_ms": 12.5,
        "detail": {"amount_usd": amount, "terminal_id": "till-1", "source": "pos"},
    }  # fmt: skip
    return Prediction(**{**said, **fields})  # type: ignore[arg-type]  # what a test leaves out of it is its own affair


def record(*said: Prediction, offset: int = 0) -> Record:
    batch = PredictionBatch.of(said, [f"card-{row}" for row in range(len(said))])
    return Record("predictions.transactions", 1, offset, 0, None, codec.encode(batch), ())


def changed(**columns: object) -> Record:
    """Three good rows, but for these columns or shared fields; `detail` is merged."""
    body = json.loads(record(prediction("0"), prediction("1"), prediction("2")).value or b"")
    detail = columns.pop("detail", {})
    body |= columns
    body["detail"] = body["detail"] | detail if isinstance(detail, dict) else detail
    return Record("predictions.transactions", 1, 5, 0, None, json.dumps(body).encode(), ())


def judged(*predictions: Prediction) -> list[Decision]:
    said, failures = cards.read(record(*predictions))
    assert said is not None
    assert failures == []
    made = list(cards.worded(said, cards.judge(said, COSTS), COSTS))
    assert [one for one, _ in made] == list(said.rows())
    return [decision for _, decision in made]


def test_the_more_is_at_stake_the_less_doubt_it_takes() -> None:
    actions = [each.action for each in judged(*(prediction(str(a), 0.05, a) for a in (10.0, 100.0, 1000.0)))]
    assert actions == ["allow", "review", "review"]
    assert judged(prediction(value=0.95))[0].action == "block"


def test_a_decision_is_a_function_of_its_prediction_alone() -> None:
    said = prediction(value=0.4)
    (alone,), (_, among) = judged(said), judged(prediction("0"), said)
    assert codec.encode(alone) == codec.encode(among)
    assert alone.decision_id == "e1.0"
    assert alone.at == said.at
    assert alone.event_at == said.event_at


def test_what_is_held_says_what_and_why() -> None:
    (decision,) = judged(prediction(value=0.9, amount=75.0))
    assert decision.reasons == (
        "fraud risk 90%: $75.00 at till-1 (pos)",
        "to block costs $5.00 on average; to allow 90.00, to review 14.00",
    )
    assert decision.predictions[0].detail == {"amount_usd": 75.0, "terminal_id": "till-1", "source": "pos"}


def test_what_is_allowed_says_little() -> None:
    (decision,) = judged(prediction(value=0.001))
    assert (decision.action, decision.reasons, decision.missing) == ("allow", ("nothing suspicious",), ())
    assert decision.predictions[0].value == 0.001


def test_in_columns_and_one_by_one_the_same_is_decided() -> None:
    said, _ = cards.read(read := record(*(prediction(str(i), i / 50) for i in range(50)), offset=9))
    assert said is not None
    sheet = Sheet(read, said, cards.judge(said, COSTS))
    assert [*sheet.actions] == [cards.judge(said.some([row]), COSTS)[0] for row in range(50)]
    assert sheet.held == [row for row, action in enumerate(sheet.actions) if action != "allow"]
    assert set(sheet.actions) == set(CHOICES)
    made = codec.Decoder[DecisionBatch](DecisionBatch).decode(codec.encode(sheet.in_columns()))
    assert (made.action, made.event_id, made.value) == (sheet.actions, said.event_id, said.value)
    assert (made.partition, made.offset, made.at) == (1, 9, START)


@pytest.mark.parametrize("other", [{"model": "velocity"}, {"via": "ask"}, {"stage": "correction"}])
def test_what_asks_for_no_decision_gets_none(other: dict[str, Any]) -> None:
    assert cards.read(record(prediction("0", **other))) == (None, [])


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("value", 1.5),
        ("value", -1e-9),
        ("event_id", "a\x00b"),
        ("event_id", ""),
        ("event_id", "e" * 65),
        ("subject_id", "a b"),
        ("user_id", "\u00e9"),
        ("user_id", "a\nb"),
        ("key", "\x00"),
        ("offset", 1 << 63),
        ("offset", -1),
        ("latency_ms", -1),
        ("event_at", "2023-02-14T08:30:00"),
        ("event_at", "0001-01-01T00:00:00+01:00"),
        ("detail.amount_usd", -1),
        ("detail.amount_usd", 1_000_001),
        ("detail.terminal_id", "t\x00"),
        ("detail.source", "post"),
    ],
)
def test_a_bad_row_fails_alone_as_a_record_of_its_own_that_says_which(field: str, bad: object) -> None:
    body = json.loads(record(prediction("0"), prediction("1"), prediction("2")).value or b"")
    columns, name = (body["detail"], field.removeprefix("detail.")) if "." in field else (body, field)
    columns[name][1] = bad
    whole = Record("predictions.transactions", 1, 5, 0, None, json.dumps(body).encode(), ())
    said, (failure,) = cards.read(whole)
    assert said is not None
    assert [*said.event_id] == ["e0", "e2"]
    assert failure.error.field == field
    assert "row 1: " in str(failure.error)
    assert (failure.record.partition, failure.record.offset) == (1, 5)
    alone = json.loads(failure.record.value or b"")
    assert alone["offset"] == [bad if field == "offset" else 7]
    assert cards.read(failure.record)[1][0].error.field == field, "sent back, it is the same record again"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "ride"}, "kind"),
        ({"unit": "min"}, "unit"),
        ({"version": "a b"}, "version"),
        ({"arm": "\x00"}, "arm"),
        ({"topic": "a\x00"}, "topic"),
        ({"partition": -1}, "partition"),
        ({"at": "9999-12-31T23:59:59-01:00"}, "at"),
        ({"at": "2023-02-14T08:30:00"}, "at"),
        ({"value": [0.1, "NaN", 0.1]}, "value"),
        ({"value": [0.1, None, 0.1]}, "value"),
        ({"value": [0.1, 0.2]}, ""),
        ({"event_id": ["a", "b", 3]}, "event_id"),
        ({"offset": ["1", "2", "3"]}, "offset"),
        ({"event_at": ["yesterday"] * 3}, "event_at"),
        ({"detail": None}, "detail"),
        ({"detail": {"amount_usd": ["1"] * 3}}, "detail"),
        ({"detail": {"source": [1, 2]}}, ""),
        ({"traceparent": {"3": "00-a-b-01"}}, ""),
    ],
    ids=str,
)
def test_what_is_no_rectangle_of_the_right_types_fails_as_a_whole(change: dict[str, object], field: str) -> None:
    bad = changed(**change)
    said, (failure,) = cards.read(bad)
    assert said is None
    assert failure.record is bad
    assert failure.error.field.startswith(field)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[1]", b"\xff", b'{"type": "millrace.prediction.v1"}', b"[" * 5000, b'{"value": [NaN]}', None]
)
def test_what_is_no_message_is_a_failure(value: bytes | None) -> None:
    said, failures = cards.read(Record("predictions.transactions", 1, 0, 0, None, value, ()))
    assert (said, len(failures)) == (None, 1)


def test_a_record_of_no_rows_asks_for_nothing() -> None:
    empty: dict[str, Any] = {
        name: [] for name in ("event_id", "subject_id", "user_id", "key", "event_at", "offset", "value")
    }
    charges: dict[str, Any] = {name: [] for name in ("amount_usd", "terminal_id", "source")}
    assert cards.read(changed(**empty, latency_ms=[], detail=charges)) == (None, [])
