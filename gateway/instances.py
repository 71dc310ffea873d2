"""What is asked of an agent over HTTP: instances, each an event's fields without what the gateway can make up. Pure.

Between `gateway.predict` and the bodies of `gateway.bodies`, whose constraints and complaints these share.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from app.agent import Agent
from app.asking.asker import ID_PREFIX, fresh_id
from app.asking.requests import MAX_ROWS
from app.errors import InvalidMessage
from app.events import Event
from gateway import bodies
from gateway.bodies import BODIES, Body
from gateway.problems import Refused

I = TypeVar("I")  # noqa: E741 - an instance


class Asked(msgspec.Struct, Generic[I], frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/predict/{agent}`.

    Attributes:
        publish: the predictions go to the topic `predictions` and into the store, too, marked as asked for.
    """

    instances: Annotated[Sequence[I], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]
    publish: bool = False


class Instances:
    """The instances one agent takes: those of its events that come in over HTTP; the first one needs no `type`.

    Raises `Refused` (404) when made of an agent that takes none.
    """

    def __init__(self, agent: Agent) -> None:
        tags = [str(event.__struct_config__.tag) for event in (*agent.consumes, *agent.follows)]
        taken = [BODIES[tag] for tag in tags if tag in BODIES]
        if not taken:
            raise Refused(HTTPStatus.NOT_FOUND, f"{agent.name} is not asked over HTTP", "agent")
        self.structs: tuple[type[msgspec.Struct], ...] = tuple(body.struct for body in taken)
        self._bodies: dict[type, Body[Any]] = {body.struct: body for body in taken}
        self._plain = msgspec.json.Decoder(Asked[self.structs[0]])  # type: ignore[name-defined]  # made at run time
        self._tagged = msgspec.json.Decoder(Asked[_union(self.structs)])  # type: ignore[misc]  # likewise

    def read(self, raw: bytes, *, publish: bool = False) -> tuple[list[msgspec.Struct], bool]:
        """The instances, each valid in itself, and whether to publish. Raises `InvalidMessage` naming the field."""
        bodies.check_text(raw)
        try:
            asked = bodies.decode(self._plain, raw)
        except InvalidMessage as error:
            if not error.field.endswith(".type"):
                raise
            asked = bodies.decode(self._tagged, raw)  # another event, or none: then it says so
        bodies.check_names(raw)
        return list(asked.instances), publish or asked.publish

    def events(self, instances: Sequence[msgspec.Struct], user_id: str, *, publish: bool) -> list[Event]:
        """The events that are only asked about."""
        return [self._event(row, said, user_id, publish) for row, said in enumerate(instances)]

    def posted(self, instances: Sequence[msgspec.Struct], user_id: str) -> list[Event]:
        """The events, as if each had been posted."""
        return [_built(row, self._body(said), said, user_id, None) for row, said in enumerate(instances)]

    def _event(self, row: int, said: msgspec.Struct, user_id: str, publish: bool) -> Event:
        given: str | None = getattr(said, "event_id", None)
        if publish and given is not None and not given.startswith(ID_PREFIX):
            raise InvalidMessage(
                f"what is published is asked for, not posted: leave it out, or begin with {ID_PREFIX}",
                f"instances[{row}].event_id",
            )
        return _built(row, self._body(said), said, user_id, fresh_id() if given is None else None)

    def _body(self, said: msgspec.Struct) -> Body[Any]:
        return bodies.UPDATED if bodies.is_update(said) else self._bodies[type(said)]


def _union(structs: Sequence[type]) -> Any:
    union: Any = structs[0]
    for each in structs[1:]:
        union = union | each
    return union


def _built(row: int, body: Body[Any], said: msgspec.Struct, user_id: str, event_id: str | None) -> Event:
    try:
        event: Event = body.build(said, user_id, event_id, None)
    except InvalidMessage as error:
        raise InvalidMessage(error.problem, f"instances[{row}].{error.field}") from error
    return event
