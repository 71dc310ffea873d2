"""CloudEvents 1.0 over HTTP (the HTTP Protocol Binding 1.0.2): binary, structured and batched mode, into our events.

`ce_type` chooses the event, `ce_id` is its id, `ce_time` its time; `data` is the body of the event's own call.
"""

from typing import Annotated, Literal, TypeVar
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Raw, Struct, UnsetType
from starlette.requests import Request

from app.errors import InvalidMessage, UnknownMessage
from app.events import Event, Id, Instant
from app.tokens import Identity
from gateway import bodies
from gateway.auth import holder
from gateway.requests import media_type, need_id, need_json, need_plain, read_body

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
MAX_BATCH = 500

T = TypeVar("T")
UriReference = Annotated[str, Meta(min_length=1, max_length=1024)]


class CloudEvent(Struct, frozen=True, kw_only=True):
    """The envelope of the structured mode; attributes we have no use for are passed over, as the standard has it."""

    specversion: Literal["1.0"]
    id: Id
    source: UriReference
    type: Annotated[str, Meta(min_length=1, max_length=200)]
    data: Raw
    time: Instant | UnsetType = msgspec.UNSET
    datacontenttype: Literal["application/json"] = "application/json"


_one = msgspec.json.Decoder(CloudEvent)
_many = msgspec.json.Decoder(Annotated[list[CloudEvent], Meta(min_length=1, max_length=MAX_BATCH)])
_instant = msgspec.json.Decoder(Instant)


async def read(request: Request, identity: Identity) -> tuple[bool, list[Event]]:
    """Whether it was a batch, and its events, all valid. Raises `InvalidMessage` with the path of what is wrong."""
    mode = media_type(request)
    if mode not in (STRUCTURED, BATCH):
        need_json(request)
        return False, [_event(_binary(request, await read_body(request)), identity, "")]
    need_plain(request)
    raw = await read_body(request)
    if mode == STRUCTURED:
        return False, [_event(_checked(_one, raw), identity, "data")]
    envelopes: list[CloudEvent] = _checked(_many, raw)
    return True, [_event(envelope, identity, f"[{row}].data") for row, envelope in enumerate(envelopes)]


def _checked(decoder: "msgspec.json.Decoder[T]", raw: bytes) -> T:
    bodies.check_text(raw)
    decoded: T = bodies.decode(decoder, raw)
    bodies.check_names(raw)
    return decoded


def _binary(request: Request, raw: bytes) -> CloudEvent:
    headers = request.headers
    if headers.get("ce-specversion") != "1.0":
        raise InvalidMessage("send ce-specversion: 1.0", "ce-specversion")
    for name in ("ce-id", "ce-source", "ce-type"):
        if not headers.get(name):
            raise InvalidMessage("this header is required", name)
    time = headers.get("ce-time")
    return CloudEvent(
        specversion="1.0",
        id=need_id(unquote(headers["ce-id"]), "ce-id"),
        source=headers["ce-source"],
        type=headers["ce-type"],
        data=Raw(raw),
        time=msgspec.UNSET if time is None else _time(time),
    )


def _time(text: str) -> Instant:
    try:
        return _instant.decode(msgspec.json.encode(text))
    except msgspec.MsgspecError as error:
        raise InvalidMessage("not an RFC 3339 instant with an offset", "ce-time") from error


def _event(envelope: CloudEvent, identity: Identity, where: str) -> Event:
    body = bodies.BODIES.get(envelope.type)
    prefix = where.removesuffix("data")
    if body is None:
        raise UnknownMessage(f"one of: {', '.join(bodies.BODIES)}", f"{prefix}type" if where else "ce-type")
    try:
        said = body.decode(bytes(envelope.data))
        at = None if envelope.time is msgspec.UNSET else envelope.time
        event: Event = body.build(said, holder(identity, body.event, said), envelope.id, None, at=at)
    except InvalidMessage as error:
        path = f"{where}.{error.field}" if where and error.field else where or error.field
        raise type(error)(error.problem, path) from error
    return event
