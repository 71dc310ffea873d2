"""An agent's inputs and outputs as named tensors, derived from the events it sees: one tensor per field. Pure.

Between `gateway.tensors` (bytes <-> columns) and the events; the constraints and the errors are those of `gateway.bodies`,
as for the same event sent as JSON.

A nested field is named by its path (`pickup_lat`), an instant is RFC 3339 text, a list is JSON text. What may be left out may
be left out as a tensor or in single rows: there it is `null`, NaN, an empty text, or for an integer the number below its least.
The user is the token's, and the event's id is made up for what is only asked about; so neither is a tensor.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from app.agent import Agent
from app.asking.asker import fresh_id
from app.asking.requests import Answer
from app.errors import InvalidMessage
from app.events import Event
from gateway import bodies
from gateway.bodies import Body
from gateway.inputs import Input, inputs_of, nested_in, present
from gateway.protocol import Parameters
from gateway.tensors import Column

KIND = "type"
"""The tensor that says which event a row is, of an agent that sees several; the first of them, where it says nothing."""

PREDICTION, PROBLEM, EVENT_ID, DETAIL = "prediction", "problem", "event_id", "detail"


class Output(NamedTuple):
    """One output tensor, of shape [rows]."""

    name: str
    datatype: str
    parameters: Parameters


class Signature:
    """The tensors of one agent.

    Raises `TypeError` when made of an agent whose events have a field no tensor is defined for.
    """

    def __init__(self, agent: Agent) -> None:
        seen = (*agent.consumes, *agent.follows)  # what is followed moves the state that the rows after it meet
        self.bodies = {str(event.__struct_config__.tag): _body(event) for event in seen}
        self._of_body = {tag: {each.name: each for each in inputs_of(body)} for tag, body in self.bodies.items()}
        self._nested = {tag: nested_in(body) for tag, body in self.bodies.items()}
        self.inputs = _merged(list(self._of_body.values()))
        if len(self.bodies) > 1:
            self.inputs[KIND] = Input(KIND, (), "BYTES", "text", required=False)
        self.outputs = {output.name: output for output in _outputs(agent)}

    def events(self, columns: Sequence[Column], user_id: str) -> list[Event]:
        """The events of the rows. Raises `InvalidMessage` that names the tensor and the row."""
        given = self._checked(columns)
        rows = len(columns[0].values)
        return [self._event(given, row, user_id) for row in range(rows)]

    def answers(self, answer: Answer, events: Sequence[Event]) -> dict[str, Column]:
        """Every output by its name: NaN is a row without a prediction, and its problem says why."""
        values: dict[str, list[Any]] = {
            PREDICTION: [math.nan if value is None else value for value in answer.values],
            PROBLEM: [answer.problems.get(row, "") for row in range(len(events))],
            EVENT_ID: [event.event_id for event in events],
            DETAIL: [msgspec.json.encode(detail).decode() for detail in answer.details],
        }
        return {name: Column(name, each.datatype, values[name]) for name, each in self.outputs.items()}

    def _checked(self, columns: Sequence[Column]) -> dict[str, Column]:
        if not columns:
            raise InvalidMessage("there is none", "inputs")
        given: dict[str, Column] = {}
        for column in columns:
            known = self.inputs.get(column.name)
            if known is None:
                raise InvalidMessage(f"unknown input; there are: {', '.join(sorted(self.inputs))}", column.name)
            if column.datatype not in known.accepts:
                raise InvalidMessage(f"it is {column.datatype}, and {known.datatype} is expected", column.name)
            if column.name in given:
                raise InvalidMessage("given twice", column.name)
            if len(column.values) != len(columns[0].values):
                rows = f"{len(column.values)} rows, and {columns[0].name} has {len(columns[0].values)}"
                raise InvalidMessage(f"it has {rows}", column.name)
            given[column.name] = column
        for name, known in self.inputs.items():
            if known.required and name not in given:
                raise InvalidMessage("this input is required", name)
        return given

    def _event(self, given: dict[str, Column], row: int, user_id: str) -> Event:
        tag = next(iter(self.bodies))
        if KIND in given and KIND in self.inputs:
            tag = str(given[KIND].values[row] or tag)
        if tag not in self.bodies:
            raise InvalidMessage(f"row {row}: none of {', '.join(self.bodies)}", KIND)
        try:
            return self._built(tag, self._said(tag, given, row), user_id)
        except InvalidMessage as error:
            name = error.field.replace(".", "_")
            raise InvalidMessage(f"row {row}: {error.problem}", name) from error

    def _said(self, tag: str, given: dict[str, Column], row: int) -> dict[str, Any]:
        """The body of one row, as JSON would say it."""
        inputs = self._of_body[tag]
        said: dict[str, Any] = {name: {} for name in self._nested[tag]}
        missing = {name for name, each in inputs.items() if each.required}
        for name, column in given.items():
            value = present(self.inputs[name], column.values[row])
            if value is None or name == KIND:
                continue
            if name not in inputs:
                raise InvalidMessage(f"{tag} has none", name)
            *outer, last = inputs[name].path
            (said.setdefault(outer[0], {}) if outer else said)[last] = value
            missing.discard(name)
        if missing:
            raise InvalidMessage("it has no value", min(missing))
        return said

    def _built(self, tag: str, said: dict[str, Any], user_id: str) -> Event:
        body = self.bodies[tag]
        try:
            converted = msgspec.convert(said, body.struct)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise bodies.refusal(error) from error
        return cast("Event", body.build(converted, user_id, fresh_id(), None))


def _body(event: type[Event]) -> Body[Any]:
    """The gateway's body of the event, or one made for it where the gateway does not take it in by itself."""
    tag = str(event.__struct_config__.tag)
    return bodies.BODIES.get(tag) or Body(event, f"{event.kind}_id")


def _merged(of_body: Sequence[dict[str, Input]]) -> dict[str, Input]:
    """The inputs of all bodies; one is required of every row when every body requires it."""
    merged: dict[str, Input] = {}
    for inputs in of_body:
        for name, each in inputs.items():
            if name in merged and merged[name].datatype != each.datatype:
                raise TypeError(f"{name} is {merged[name].datatype} in one event and {each.datatype} in another")
            merged[name] = each._replace(required=all(name in other and other[name].required for other in of_body))
    return merged


def _outputs(agent: Agent) -> Iterator[Output]:
    yield Output(PREDICTION, "FP64", {"unit": agent.unit})
    yield Output(PROBLEM, "BYTES", {"content": "text"})
    yield Output(EVENT_ID, "BYTES", {"content": "text"})
    if agent.detail is not None:
        yield Output(DETAIL, "BYTES", {"content": "json"})
