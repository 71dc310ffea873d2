"""Predictions on transactions become decisions: checked, judged by what is at stake, told with their reasons."""

import json

import msgspec
import numpy as np
import pytest

from app import codec
from app.codec import Record
from app.costs import CHOICES, Costs
from app.decisions import Decision
from app.predictions import Prediction
from app.testing import START
from decision import cards

COSTS = Costs(chargeback=25, review=5, block=50)


def prediction(name: str = "1", value: float = 0.01, amount: float = 50.0, **fields: object) -> Prediction:
    said = {
        "event_id": f"e{name}", "subject_id": f"t{name}", "user_id": "u", "kind": "transaction", "model": "fraud",
        "version": "1", "value": value, "unit": "probability", "topic": "transactions.pos", "partition": 1, "offset": 7,
        "event_at": START, "at": START, "latency_ms": 12.5,
        "detail": {"amount_usd": amount, "terminal_id": "till-1", "source": "pos"},
    }  # fmt: skip
    return Prediction(**{**said, **fields})  # type: ignore[arg-type]  # what a test leaves out of it is its own affair


def record(value: bytes | Prediction, offset: int = 0) -> Record:
    raw = codec.encode(value) if isinstance(value, Prediction) else value
    return Record("predictions.transactions", 1, offset, 0, b"card", raw, ())


def judged(*predictions: Prediction) -> list[Decision]:
    asked, failures = cards.read([record(each, row) for row, each in enumerate(predictions)])
    assert failures == []
    return cards.judge(asked.predictions, COSTS).decisions


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
        "looks like fraud (90%): $75.00 at till-1 (pos)",
        "to block costs $5.00 on average; to allow 90.00, to review 14.00",
    )
    assert decision.predictions[0].detail == {"amount_usd": 75.0, "terminal_id": "till-1", "source": "pos"}


def test_what_is_allowed_says_little() -> None:
    (decision,) = judged(prediction(value=0.001))
    assert (decision.action, decision.reasons, decision.missing) == ("allow", ("nothing suspicious",), ())
    assert decision.predictions[0].value == 0.001


def test_the_held_rows_are_those_that_are_not_allowed() -> None:
    asked, _ = cards.read([record(prediction(str(i), value)) for i, value in enumerate(np.linspace(0, 1, 50).tolist())])
    verdicts = cards.judge(asked.predictions, COSTS)
    assert verdicts.held == [row for row, each in enumerate(verdicts.decisions) if each.action != "allow"]
    assert {each.action for each in verdicts.decisions} == set(CHOICES)


@pytest.mark.parametrize("other", [{"model": "velocity"}, {"via": "ask"}, {"stage": "correction"}])
def test_what_asks_for_no_decision_gets_none(other: dict[str, str]) -> None:
    asked, failures = cards.read([record(prediction("0", **other)), record(prediction("1"))])
    assert [said.event_id for said in asked.predictions] == ["e1"]
    assert [each.value for each in asked.records] == [codec.encode(prediction("1"))]
    assert failures == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": 1.5}, "value"),
        ({"value": "NaN"}, "value"),
        ({"kind": "ride"}, "kind"),
        ({"unit": "min"}, "unit"),
        ({"event_id": "a\x00b"}, "event_id"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "e" * 65}, "event_id"),
        ({"subject_id": "a b"}, "subject_id"),
        ({"user_id": "é"}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"version": "a b"}, "version"),
        ({"arm": "\x00"}, "arm"),
        ({"offset": 1 << 63}, ""),
        ({"partition": -1}, "partition"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"topic": "a\x00"}, "topic"),
        ({"event_at": "2023-02-14T08:30:00"}, "event_at"),
        ({"event_at": "0001-01-01T00:00:00+01:00"}, "event_at"),
        ({"at": "9999-12-31T23:59:59-01:00"}, "at"),
        ({"detail": None}, "detail"),
        ({"detail": {"terminal_id": "t", "source": "pos"}}, "detail"),
        ({"detail": {"amount_usd": -1, "terminal_id": "t", "source": "pos"}}, "detail.amount_usd"),
        ({"detail": {"amount_usd": 1, "terminal_id": "t\x00", "source": "pos"}}, "detail.terminal_id"),
        ({"detail": {"amount_usd": 1, "terminal_id": "t", "source": "post"}}, "detail.source"),
    ],
)
def test_a_bad_prediction_fails_alone_and_its_field_is_named(change: dict[str, object], field: str) -> None:
    good = [record(prediction("0"), 0), record(prediction("2"), 2)]
    bad = record(json.dumps({**msgspec.to_builtins(prediction("1")), **change}).encode(), 1)
    asked, (failure,) = cards.read([good[0], bad, good[1]])
    assert failure.record is bad
    assert failure.error.field.startswith(field)
    assert [said.event_id for said in asked.predictions] == ["e0", "e2"]
    assert list(asked.records) == good


@pytest.mark.parametrize("value", [b"", b"{", b"[1]", b"\xff", b'{"type": "millrace.prediction.v9"}', b"[" * 5000])
def test_what_is_no_prediction_fails_alone(value: bytes) -> None:
    asked, failures = cards.read([record(value), record(prediction())])
    assert len(asked.predictions) == len(failures) == 1


def test_the_whole_prediction_comes_back() -> None:
    said = prediction(value=0.25, arm="challenger")
    (read,) = cards.read([record(said)])[0].predictions
    assert cards.whole(read) == said
