"""Request bodies: derived from the events, minus what the gateway itself knows, decoded without mercy.

A body is its event with `user_id` taken from the token, `event_id`, the subject's id and `at` made up where they are
absent. The constraints are the events' own: they are written down once, in `app.events`.
"""

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin
from uuid import NAMESPACE_URL, uuid4, uuid5

import msgspec
from msgspec.structs import fields

from app.clock import utc_now
from app.codec import explain
from app.errors import InvalidMessage
from app.events import (
    NO_YEAR,
    YEARS,
    ContentUpdated,
    ContentUploaded,
    Event,
    FraudReported,
    Id,
    Instant,
    Place,
    RideCancelled,
    RideCompleted,
    RidePositioned,
    RideRequested,
    RideStarted,
    TransactionMade,
)

E = TypeVar("E", bound=Event)

_WRONG_FIELD = re.compile(
    r"^Object (?P<what>contains unknown|missing required) field `(?P<name>.*?)`(?: - at `\$\.?(?P<path>[^`]*)`)?$",
    re.DOTALL,
)
_NO_CHOICE = "Invalid enum value"
_PRINTABLE = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class PlaceBody(Place, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A `Place` that says so when a field is misspelt."""

    __doc__ = Place.__doc__


class Body(Generic[E]):
    """The request body of one kind of event.

    Args:
        subject: the field that names the ride or upload.
        given: whether the subject's id comes with the path, so that a body need not repeat it.
    """

    optional: ClassVar[dict[str, Any]] = {"event_id": Id | None, "user_id": Id | None, "at": Instant | None}

    def __init__(self, event: type[E], subject: str, extra: Iterable[tuple[str, type, Any]] = ()) -> None:
        self.event, self.subject = event, subject
        optional = {**self.optional, subject: Id | None}
        kept = [(field.name, _strict(field.type), field) for field in fields(event) if field.name not in optional]
        self.struct = msgspec.defstruct(
            f"{event.__name__}Body",
            [(name, type_, None) for name, type_ in optional.items()]
            + [(name, type_) if field.required else (name, type_, field.default) for name, type_, field in kept]
            + list(extra),
            kw_only=True,
            forbid_unknown_fields=True,
            tag_field="type",
            tag=str(event.__struct_config__.tag),
            namespace={"__doc__": event.__doc__},
        )
        self._decoder = msgspec.json.Decoder(self.struct)

    def decode(self, raw: bytes) -> msgspec.Struct:
        """The body, valid in itself. Raises `InvalidMessage` with the path of what is wrong."""
        check_text(raw)
        body: msgspec.Struct = decode(self._decoder, raw)
        check_names(raw)
        return body

    def build(
        self,
        body: msgspec.Struct,
        user_id: str,
        event_id: str | None,
        subject_id: str | None,
        at: datetime | None = None,
    ) -> E:
        """The event a body stands for, when sent by `user_id`. Raises `InvalidMessage`.

        `event_id` is that of the headers (`Idempotency-Key`, CloudEvents) and `subject_id` that of the path; where the
        body has them too, they must agree. `at` is CloudEvents' time; the body's own goes before it.
        """
        said = {name: getattr(body, name) for name in self.event.__struct_fields__}
        _agree("user_id", said["user_id"], user_id, "the token's subject")
        _agree("event_id", said["event_id"], event_id, "the one in the headers")
        _agree(self.subject, said[self.subject], subject_id, "the one in the path")
        identity = said["event_id"] or event_id or uuid4().hex
        said |= {
            "user_id": user_id,
            "event_id": identity,
            "at": said["at"] or at or utc_now(),
            self.subject: said[self.subject] or subject_id or uuid5(NAMESPACE_URL, f"{user_id}/{identity}").hex,
        }
        for name, value in said.items():
            if isinstance(value, datetime):
                said[name] = _sane(name, value)
        return self.event(**said)


def decode(decoder: "msgspec.json.Decoder[Any]", raw: bytes) -> Any:
    """What msgspec makes of it, its complaints as ours, naming the field and nothing of the content."""
    if not raw.strip():
        raise InvalidMessage("the body is empty")
    try:
        return decoder.decode(raw)
    except RecursionError as error:
        raise InvalidMessage("nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        found = refusal(error)
        if found.problem == _NO_CHOICE and (choices := _choices(decoder.type, found.field)):
            found = InvalidMessage(f"one of: {', '.join(choices)}", found.field)
        raise found from error


def _choices(of: Any, name: str) -> list[str]:
    """The words this field of a struct may be; none where it is no field of it, or may be anything."""
    known = {field.name: field.type for field in fields(of)} if isinstance(of, type) else {}
    kinds = (known.get(name), *get_args(known.get(name)))
    return [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]


def refusal(error: msgspec.MsgspecError | UnicodeDecodeError) -> InvalidMessage:
    """`app.codec.explain`, with a field that is unknown or lacking named, where its name is fit to be shown."""
    wrong = _WRONG_FIELD.match(str(error))
    if wrong is None:
        found = explain(error)
        return type(found)(
            found.problem.partition(" '")[0] if "Invalid" in found.problem else found.problem, found.field
        )
    problem = "unknown field" if wrong["what"] == "contains unknown" else "this field is required"
    name = wrong["name"] if _PRINTABLE.match(wrong["name"]) else "?"
    return InvalidMessage(problem, f"{wrong['path']}.{name}" if wrong["path"] else name)


def check_text(raw: bytes) -> None:
    """No NUL in any string: databases and C libraries downstream end a text there."""
    if _NUL.search(raw):
        raise InvalidMessage("a text contains NUL")


def check_names(raw: bytes) -> None:
    """No name twice in one object: two readers would see two different messages (RFC 8259 section 4)."""
    try:
        json.loads(raw, object_pairs_hook=_distinct)
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number too long for int(), a depth msgspec takes and json does not
        raise InvalidMessage("a number or the nesting is out of bounds") from error


def _distinct(pairs: list[tuple[str, object]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise InvalidMessage("given twice", name if _PRINTABLE.match(name) else "?")
        seen.add(name)


def _strict(type_: Any) -> Any:
    return PlaceBody if type_ is Place else type_


def _agree(field: str, said: str | None, known: str | None, which: str) -> None:
    if said is not None and known is not None and said != known:
        raise InvalidMessage(f"differs from {which}", field)


def _sane(field: str, instant: datetime) -> datetime:
    if instant.year in YEARS:
        return instant
    raise InvalidMessage(NO_YEAR, field)


REQUESTED = Body(RideRequested, "ride_id")
STARTED = Body(RideStarted, "ride_id")
POSITIONED = Body(RidePositioned, "ride_id")
COMPLETED = Body(RideCompleted, "ride_id")
CANCELLED = Body(RideCancelled, "ride_id")
UPLOADED = Body(ContentUploaded, "upload_id", extra=[("update", bool, False)])
UPDATED = Body(ContentUpdated, "upload_id")
MADE = Body(TransactionMade, "transaction_id")
REPORTED = Body(FraudReported, "transaction_id")


def is_update(body: msgspec.Struct) -> bool:
    """Whether the body of an upload is a new version of one; it then has to say of which. Raises `InvalidMessage`."""
    update = bool(getattr(body, "update", False))
    if update and getattr(body, "upload_id", None) is None:
        raise InvalidMessage("an update names the upload it changes", "upload_id")
    return update


BODIES: dict[str, Body[Any]] = {
    str(body.event.__struct_config__.tag): body
    for body in (REQUESTED, STARTED, POSITIONED, COMPLETED, CANCELLED, UPLOADED, UPDATED, MADE, REPORTED)
}
"""By CloudEvents type."""
