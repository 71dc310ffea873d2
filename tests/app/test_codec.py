"""Bytes to messages and back: a round trip for everything, and a clear word for what is no message."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.codec import Decoder, Record, context, encode, header
from app.errors import InvalidMessage, UnknownMessage
from app.events import YEARS, AnyEvent, AnyRide, RideRequested
from app.examples import EXAMPLES
from app.modes.scoring.process import Outcome, outgoing
from app.predictions import Prediction
from app.testing import Events, record

decoder: Decoder[AnyEvent] = Decoder(AnyEvent)

VALID = encode(EXAMPLES[0])
DEEP = VALID[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_what_is_encoded_is_decoded_the_same(event: AnyEvent) -> None:
    assert decoder.decode(encode(event)) == event


@given(
    title=st.text(min_size=1, max_size=500),
    tags=st.lists(st.text(max_size=200), max_size=5),
    text=st.text(max_size=300),
    at=st.datetimes(datetime(min(YEARS), 1, 1), datetime(max(YEARS), 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_any_text_survives_the_round_trip(title: str, tags: list[str], text: str, at: datetime) -> None:
    upload = Events().upload(title=title, tags=tuple(tags), text=text, at=at)
    assert decoder.decode(encode(upload)) == upload


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, ""),
        (b"", ""),
        (b"{", ""),
        (b"\xff", ""),
        (b"[]", ""),
        (DEEP, ""),
        (VALID.replace(b'"zone":236', b'"zone":900'), "pickup.zone"),
        (VALID.replace(b'"zone":236', b'"zone":"x"'), "pickup.zone"),
        (VALID.replace(b'"u-1"', b'"no spaces"'), "user_id"),
        (VALID.replace(b'"zone":236', b'"lat":40.0'), "pickup"),
        (VALID.replace(b"2023-02-14T08:30:00Z", b"2023-02-14T08:30:00"), "at"),
    ],
)
def test_a_bad_message_names_its_field(value: bytes | None, field: str) -> None:
    with pytest.raises(InvalidMessage) as error:
        decoder.decode(value)
    assert error.value.field == field
    assert not isinstance(error.value, UnknownMessage)


@pytest.mark.parametrize("bad", ["0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z"])
@pytest.mark.parametrize(("event", "field"), [(0, "at"), (0, "pickup_at"), (5, "at"), (7, "at"), (8, "made_at")])
def test_an_instant_that_cannot_be_reckoned_with_is_no_event(event: int, field: str, bad: str) -> None:
    """In UTC there is no such year: one record with it would stop whoever brings its times there."""
    wrong = msgspec.json.encode({**msgspec.json.decode(encode(EXAMPLES[event])), field: bad})
    with pytest.raises(InvalidMessage, match=f"`{field}` is not between the years 1970 and 2199"):
        decoder.decode(wrong)


@pytest.mark.parametrize("tag", [b"millrace.ride.requested.v9", b"other"])
def test_an_unknown_version_is_told_apart(tag: bytes) -> None:
    with pytest.raises(UnknownMessage):
        decoder.decode(VALID.replace(b"millrace.ride.requested.v1", tag))


_values = st.sampled_from(
    [VALID, DEEP, encode(EXAMPLES[5]), b"", None, b"{", b"null", b"1\n2", VALID + b"\n", b"\xff", b" "]
)


@given(values=st.lists(_values, max_size=12))
def test_a_batch_is_decoded_as_its_records_one_by_one(values: list[bytes | None]) -> None:
    records = [Record("t", 0, offset, 0, None, value) for offset, value in enumerate(values)]
    messages, failures = decoder.decode_batch(records)

    def alone(value: bytes | None) -> AnyEvent | None:
        try:
            return decoder.decode(value)
        except InvalidMessage:
            return None

    assert messages == [alone(value) for value in values]
    assert [failure.record.offset for failure in failures] == [
        n for n, message in enumerate(messages) if message is None
    ]


def test_cloudevents_headers_fill_in_what_a_foreign_value_leaves_out() -> None:
    body = msgspec.json.decode(VALID)
    bare = msgspec.json.encode({name: body[name] for name in body if name not in ("type", "event_id", "at")})
    decoded = Decoder[AnyRide](AnyRide).decode(bare, context(EXAMPLES[0]))
    assert decoded == EXAMPLES[0]


def test_the_headers_are_those_of_a_binary_mode_cloudevent() -> None:
    headers = dict(context(EXAMPLES[0], "00-a-b-01"))
    assert headers["ce_type"] == b"millrace.ride.requested.v1"
    assert headers["ce_id"] == b"e-1"
    assert header(headers.items(), "traceparent") == "00-a-b-01"
    assert header([("x", b"\xff")], "x") is None


def test_predictions_leave_the_loop_with_the_headers_the_codec_gives() -> None:
    ride = Events().ride()
    source = record(ride)
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    prediction = Prediction(
        event_id=ride.event_id, subject_id=ride.ride_id, user_id=ride.user_id, kind="ride", model="eta", version="3",
        value=1.0, unit="min", topic="rides", partition=0, offset=0, event_at=ride.at, at=at, latency_ms=1.0,
    )  # fmt: skip
    (sent,) = outgoing("eta", Outcome(at, [(source, prediction)], []))
    assert dict(sent.headers) == dict(context(prediction))
    assert Decoder[Prediction](Prediction).decode(sent.value) == prediction
    assert isinstance(ride, RideRequested)
