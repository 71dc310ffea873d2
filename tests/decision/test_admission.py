import msgspec
import pytest

from app import codec
from app.codec import Record
from app.predictions import Prediction
from app.telemetry import new_traceparent
from app.testing import START, Events
from app.topics import PREDICTIONS, RIDES
from decision.admission import MAX_PREDICTION_BYTES, Admission

GOOD = Prediction(
    event_id="e",
    subject_id="r",
    user_id="u",
    kind="ride",
    model="eta",
    version="2026.1+b",
    value=1.5,
    unit="min",
    topic="rides",
    partition=0,
    offset=0,
    event_at=START,
    at=START,
    latency_ms=1.0,
)


def record(value: bytes | None, topic: str = PREDICTIONS.name, headers: codec.Headers = ()) -> Record:
    return Record(topic, 2, 7, 1_700_000_000_000, b"u", value, headers)


def test_what_is_good_is_taken_with_its_place() -> None:
    admitted = Admission().admit(PREDICTIONS.name, [record(codec.encode(GOOD))], START)
    ((message, position, _),) = admitted.messages
    assert (message, position.partition, position.offset) == (GOOD, 2, 7)
    assert admitted.dead == []


def test_an_events_trace_is_kept_as_a_child_and_a_malformed_one_is_not() -> None:
    parent = new_traceparent()
    value = codec.encode(Events().ride())
    good, bad = (record(value, RIDES.name, (("traceparent", t.encode()),)) for t in (parent, "0" * 500))
    first, second = Admission().admit(RIDES.name, [good, bad], START).messages
    assert first.traceparent is not None
    assert first.traceparent[:35] == parent[:35]
    assert second.traceparent is None


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": ""},
        {"subject_id": "a\x00b"},
        {"user_id": "u" * 65},
        {"model": "m" * 65},
        {"version": "1\x00"},
        {"unit": "a unit of many words"},
        {"event_at": START.replace(tzinfo=None)},
        {"detail": {"track": "x" * MAX_PREDICTION_BYTES}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_store_could_not_keep_is_a_dead_letter_and_its_neighbour_is_not(change: dict[str, object]) -> None:
    bad = codec.encode(msgspec.structs.replace(GOOD, **change))
    admitted = Admission().admit(PREDICTIONS.name, [record(bad), record(codec.encode(GOOD))], START)
    assert [sourced.message for sourced in admitted.messages] == [GOOD]
    (dead,) = admitted.dead
    assert dead.value == bad
    assert codec.header(dead.headers, "dlq.cause") == "invalid_message"
    assert codec.header(dead.headers, "dlq.agent") == "decision"


def test_a_number_without_bounds_is_a_dead_letter() -> None:
    endless = codec.encode(GOOD).replace(b"1.5", b"1e999")
    assert len(Admission().admit(PREDICTIONS.name, [record(endless), record(None)], START).dead) == 2
