"""Signatures: for every agent, an event sent as tensors is the event sent as JSON; what is wrong names tensor and row."""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from app import agent
from app.asking.asker import ID_PREFIX
from app.asking.requests import Answer
from app.codec import encode
from app.errors import InvalidMessage
from app.events import RidePositioned, RideRequested
from app.examples import EXAMPLES
from app.testing import Events
from gateway.protocol import Scalar
from gateway.signature import Signature
from gateway.tensors import Column

AT = "2026-01-01T00:00:00Z"
eta, spam, duration = (Signature(agent.find(name)) for name in ("eta", "spam", "duration"))
makes = Events("t")
RICH = (
    makes.ride(pickup_at=datetime(2026, 5, 1, tzinfo=UTC), passengers=3, payment="cash", route_km=4.5),
    makes.upload(tags=("a", "b"), text="x"),
)
"""With what the examples leave to its default."""


def columns(signature: Signature, **values: list[Scalar | None]) -> list[Column]:
    return [Column(name, signature.inputs[name].datatype, value) for name, value in values.items()]


def flat(event: Any) -> dict[str, list[Scalar | None]]:
    """An event as tensors of one row, by the rules `docs/inference-protocol.md` states."""
    tensors: dict[str, list[Scalar | None]] = {}
    for name, value in msgspec.to_builtins(event).items():
        if name in ("event_id", "user_id"):
            continue
        if isinstance(value, dict):
            tensors |= {f"{name}_{inner}": [each] for inner, each in value.items()}
        else:
            tensors[name] = [msgspec.json.encode(value).decode() if isinstance(value, list | tuple) else value]
    return tensors


@pytest.mark.parametrize("name", agent.names())
def test_an_event_as_tensors_is_the_event_of_every_agent(name: str) -> None:
    declared = agent.find(name)
    signature = Signature(declared)
    seen = [event for event in (*EXAMPLES, *RICH) if isinstance(event, declared.consumes + declared.follows)]
    assert seen
    for example in seen:
        tensors = {key: value for key, value in flat(example).items() if key != "type" or "type" in signature.inputs}
        (event,) = signature.events(columns(signature, **tensors), example.user_id)
        assert event.event_id.startswith(ID_PREFIX)
        assert encode(msgspec.structs.replace(event, event_id=example.event_id)) == encode(example)


@pytest.mark.parametrize("name", agent.names())
def test_every_agent_has_a_prediction_in_its_unit(name: str) -> None:
    signature = Signature(agent.find(name))
    assert signature.outputs["prediction"].parameters == {"unit": agent.find(name).unit}
    assert {"FP64", "INT64", "BOOL", "BYTES"} >= {each.datatype for each in signature.inputs.values()}


def test_rows_may_leave_out_what_others_say() -> None:
    given = columns(
        eta,
        pickup_zone=[74, 0, None],
        pickup_lat=[None, 40.7, 40.7],
        pickup_lon=[None, -74.0, -74.0],
        dropoff_zone=[1, 2, 3],
        pickup_at=["", AT, None],
        payment=["", "cash", "card"],
        route_km=[None, 2.5, None],
        at=[AT, AT, AT],
    )
    first, second, third = eta.events(given, "u")
    assert isinstance(first, RideRequested)
    assert isinstance(second, RideRequested)
    assert isinstance(third, RideRequested)
    assert (first.pickup.zone, first.pickup.lat, first.payment, first.pickup_at, first.route_km) == (
        74,
        None,
        "card",
        None,
        None,
    )
    assert (second.pickup.zone, second.pickup.lat, second.payment, second.route_km) == (None, 40.7, "cash", 2.5)
    assert (third.pickup.zone, third.pickup.lon, third.passengers) == (None, -74.0, 1)


def test_narrower_numbers_are_taken_and_wider_ones_not() -> None:
    good = [Column("pickup_zone", "INT16", [1]), Column("dropoff_zone", "UINT8", [2])]
    assert eta.events([*good, Column("route_km", "FP32", [1.5])], "u")
    for name, datatype in (("passengers", "FP64"), ("passengers", "UINT64"), ("route_km", "INT64"), ("at", "FP64")):
        with pytest.raises(InvalidMessage, match="is expected") as caught:
            eta.events([*good, Column(name, datatype, [1])], "u")
        assert caught.value.field == name


def test_an_agent_of_several_events_is_told_which() -> None:
    said = columns(duration, type=["millrace.ride.positioned.v1"], ride_id=["r"], lat=[40.7], lon=[-74.0])
    assert isinstance(duration.events(said, "u")[0], RidePositioned)
    both = columns(
        duration,
        type=[None, "millrace.ride.positioned.v1"],
        pickup_zone=[1, 0],
        dropoff_zone=[2, 0],
        lat=[None, 40.7],
        lon=[None, -74.0],
    )
    assert [type(event) for event in duration.events(both, "u")] == [RideRequested, RidePositioned]


PLACES: dict[str, list[Scalar | None]] = {"pickup_zone": [1, 2], "dropoff_zone": [3, 4]}
BAD: dict[str, tuple[Signature, dict[str, list[Scalar | None]], str, str]] = {
    "unknown": (eta, {**PLACES, "event_id": ["a", "b"]}, "event_id", "unknown input"),
    "out of range": (eta, {**PLACES, "passengers": [1, 10]}, "passengers", "row 1: Expected `int` <= 9"),
    "nested": (eta, {**PLACES, "pickup_zone": [266, 1]}, "pickup_zone", "row 0: Expected `int` <= 265"),
    "no place": (eta, {**PLACES, "pickup_zone": [1, 0]}, "pickup", "row 1: give a zone"),
    "zone and point": (eta, {**PLACES, "pickup_lat": [None, 1.5]}, "pickup", "row 1: give a zone or a point"),
    "no instant": (eta, {**PLACES, "at": [AT, "noon"]}, "at", "row 1: Invalid RFC3339"),
    "no offset": (eta, {**PLACES, "at": [AT, "2026-01-01T00:00:00"]}, "at", "row 1: Expected `datetime` with"),
    "year 1": (eta, {**PLACES, "at": [AT, "0001-01-01T00:00:00Z"]}, "at", "row 1: not between"),
    "NUL": (eta, {**PLACES, "ride_id": ["a", "a\0b"]}, "ride_id", "row 1: a text contains NUL"),
    "no choice": (eta, {**PLACES, "payment": ["card", "gold"]}, "payment", "row 1: Invalid enum value"),
    "fewer rows": (eta, {**PLACES, "passengers": [1]}, "passengers", "it has 1 rows"),
    "required": (spam, {"text": ["a"]}, "title", "this input is required"),
    "empty": (spam, {"title": ["a", ""]}, "title", "row 1: Expected `str` of length >= 1"),
    "null": (spam, {"title": ["a", None]}, "title", "row 1: it has no value"),
    "no list": (spam, {"title": ["a"], "tags": ["a,b"]}, "tags", "row 0: not JSON"),
    "no list of texts": (spam, {"title": ["a"], "tags": ["[1]"]}, "tags[0]", "row 0: Expected `str`"),
    "of another event": (duration, {**PLACES, "lat": [1.5, None]}, "lat", "row 0: millrace.ride.requested.v1 has none"),
    "no such event": (duration, {**PLACES, "type": ["x", None]}, "type", "row 0: none of millrace.ride.requested.v1"),
    "half a position": (
        duration,
        {"type": ["millrace.ride.positioned.v1"], "ride_id": ["r"], "lat": [40.7]},
        "lon",
        "row 0: it has no value",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_names_the_tensor_and_the_row(name: str) -> None:
    signature, values, field, problem = BAD[name]
    given = [Column(key, getattr(signature.inputs.get(key), "datatype", "BYTES"), each) for key, each in values.items()]
    with pytest.raises(InvalidMessage) as caught:
        signature.events(given, "u")
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)


def test_no_input_and_one_given_twice() -> None:
    with pytest.raises(InvalidMessage, match="there is none"):
        eta.events([], "u")
    with pytest.raises(InvalidMessage, match="given twice"):
        eta.events([*columns(eta, **PLACES), *columns(eta, pickup_zone=[1, 2])], "u")


def test_a_row_without_a_prediction_is_nan_and_says_why() -> None:
    events = eta.events(columns(eta, **PLACES), "u")
    answer = Answer("eta", "1", "min", (2.5, None), ({"track": 1}, None), {1: "the model answered NaN"})
    outputs = eta.answers(answer, events)
    assert outputs.keys() == eta.outputs.keys()
    assert outputs["prediction"].values[0] == 2.5
    assert math.isnan(float(outputs["prediction"].values[1] or 0))
    assert outputs["problem"].values == ["", "the model answered NaN"]
    assert outputs["detail"].values == ['{"track":1}', "null"]
    assert outputs["event_id"].values == [event.event_id for event in events]
