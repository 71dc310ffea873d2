"""Predictions in columns: the same predictions, one by one, and nothing that is not rectangular."""

import string
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import codec
from app.codec import Decoder
from app.errors import InvalidMessage
from app.predictions import Detail, Details, Prediction, PredictionBatch
from app.testing import START

decoder: Decoder[PredictionBatch] = Decoder(PredictionBatch)
encoder = msgspec.json.Encoder(order="sorted")

_names = st.text(string.ascii_letters, min_size=1, max_size=8)
_zones = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
_rows = st.lists(
    st.tuples(
        st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=_zones),  # noqa: DTZ001 - hypothesis adds the zone
        st.floats(0, 1),
        st.floats(0, 1e6),
        st.none() | st.dictionaries(st.sampled_from("ab"), st.integers() | _names, min_size=1),
    ),
    min_size=1,
    max_size=20,
)


def predictions(rows: list[tuple[datetime, float, float, dict[str, object] | None]]) -> list[Prediction]:
    return [
        Prediction(
            event_id=f"e{row}", subject_id=f"t{row}", user_id=f"u{row}", kind="transaction", model="fraud", version="3",
            value=value, unit="probability", topic="transactions.pos", partition=2, offset=row * 3, event_at=event_at,
            at=datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC), latency_ms=latency_ms, detail=detail, arm="b",
        )
        for row, (event_at, value, latency_ms, detail) in enumerate(rows)
    ]  # fmt: skip


def in_columns(said: list[Prediction], traceparent: dict[int, str] | None = None) -> PredictionBatch:
    return PredictionBatch.of(said, [f"card-{each.offset}" for each in said], traceparent)


@given(_rows)
def test_its_rows_are_the_predictions_it_was_made_of(
    rows: list[tuple[datetime, float, float, dict[str, object] | None]],
) -> None:
    said = predictions(rows)
    sent = decoder.decode(codec.encode(in_columns(said)))
    assert encoder.encode(list(sent.rows())) == encoder.encode(said)
    assert len(sent) == len(said)


def test_some_of_its_rows_keep_all_that_is_theirs() -> None:
    said = predictions([(START, 0.1 * row, 1.0, {"n": row}) for row in range(5)])
    some = in_columns(said, traceparent={1: "trace-1", 3: "trace-3"}).some([3, 0])
    assert list(some.rows()) == [said[3], said[0]]
    assert some.key == ["card-9", "card-0"]
    assert some.traceparent == {0: "trace-3"}


@pytest.mark.parametrize(
    "bad",
    [
        {"value": [0.1]},
        {"key": []},
        {"detail": {"n": [1, 2, 3]}},
        {"traceparent": {"2": "00-x"}},
        {"traceparent": {"-1": "00-x"}},
    ],
    ids=str,
)
def test_what_is_not_rectangular_is_no_message(bad: dict[str, object]) -> None:
    body = msgspec.to_builtins(in_columns(predictions([(START, 0.5, 1.0, None)] * 2)))
    with pytest.raises(InvalidMessage):
        decoder.decode(msgspec.json.encode(body | bad))


def test_details_are_a_sequence_of_rows() -> None:
    rows: list[Detail | None] = [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    details = Details.of(rows)
    assert list(details) == rows
    assert (len(details), details[1], details[:1]) == (2, rows[1], rows[:1])
    assert Details.of(details) is details
    assert details.columns() == {"a": [1, 2], "b": [None, "x"]}
    assert not Details({})


def test_a_batch_bears_the_headers_of_one_event() -> None:
    headers = dict(codec.context(in_columns(predictions([(START, 0.5, 1.0, None)] * 3))))
    assert headers["ce_id"] == b"transactions.pos.2@0-6.fraud.3"
    assert headers["ce_type"] == b"millrace.predictions.v1"
    assert headers["ce_source"] == b"/millrace/agents/fraud"
