from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from app import codec
from app.codec import Record
from app.predictions import Prediction
from app.testing import START, Events
from app.topics import PREDICTIONS, RIDES
from decision.admission import MAX_NESTING, MAX_PREDICTION_BYTES, Admission
from decision.join import Join
from decision.policy import EXPECTED, judge

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

NO_TIME = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))  # none in UTC


def record(value: bytes | None, topic: str = PREDICTIONS.name, headers: codec.Headers = ()) -> Record:
    return Record(topic, 2, 7, 1_700_000_000_000, b"u", value, headers)


def test_what_is_good_is_taken_with_its_place() -> None:
    admitted = Admission().admit(PREDICTIONS.name, [record(codec.encode(GOOD))], START)
    ((message, position, _),) = admitted.messages
    assert (message, position.partition, position.offset) == (GOOD, 2, 7)
    assert admitted.dead == []


def test_an_events_trace_is_kept_as_a_child_and_a_malformed_one_is_not() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    value = codec.encode(Events().ride())
    good, bad = (record(value, RIDES.name, (("traceparent", t.encode()),)) for t in (parent, "0" * 500))
    first, second = Admission().admit(RIDES.name, [good, bad], START).messages
    assert first.traceparent is not None
    assert first.traceparent[:35] == parent[:35]
    assert second.traceparent is None


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


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
        {"event_at": NO_TIME},
        {"at": NO_TIME},
        {"detail": {"track": "x" * MAX_PREDICTION_BYTES}},
        {"detail": {"track": nested(MAX_NESTING + 1)}},
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


def test_a_decision_on_the_largest_figures_fits_into_a_record() -> None:
    """Numbers are written out anew, and not all as short as they came: 1e15 becomes 1000000000000000.0."""
    ride, admission = Events().ride(), Admission()
    answers = []
    for model in EXPECTED["ride"]:
        about = {"event_id": ride.event_id, "subject_id": ride.subject_id, "user_id": ride.user_id, "model": model}
        plain = codec.encode(msgspec.structs.replace(GOOD, **about))[:-1]
        largest = next(
            messages
            for numbers in range(MAX_PREDICTION_BYTES // 5, 0, -100)
            if (messages := admission.admit(PREDICTIONS.name, [record(_with(plain, numbers))], START).messages)
        )
        answers += largest
    opening = admission.admit(RIDES.name, [record(codec.encode(ride), RIDES.name)], START).messages
    join = Join(judge, {"ride": timedelta(seconds=1)})
    (made,) = join.apply([*opening, *answers], START).entry.decisions
    assert made.decision.missing == ()
    assert MAX_PREDICTION_BYTES < len(codec.encode(made.decision)) < 1_000_000


def _with(prediction: bytes, numbers: int) -> bytes:
    return prediction + b',"detail":{"x":[' + b",".join([b"1e15"] * numbers) + b"]}}"


def test_detail_may_be_nested_a_little_and_flat_at_length() -> None:
    detail = {"track": nested(MAX_NESTING - 1), "points": [[1.5, 2.5]] * 500}
    good = codec.encode(msgspec.structs.replace(GOOD, detail=detail))
    assert len(Admission().admit(PREDICTIONS.name, [record(good)], START).messages) == 1


def test_a_number_without_bounds_is_a_dead_letter() -> None:
    endless = codec.encode(GOOD).replace(b"1.5", b"1e999")
    assert len(Admission().admit(PREDICTIONS.name, [record(endless), record(None)], START).dead) == 2
