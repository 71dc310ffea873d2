"""Bytes to messages and back, one at a time and a batch at once; CloudEvents headers to context and back.

Between Kafka and everybody: the loop, the decision worker and the gateway decode and encode here and nowhere else.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Generic, NamedTuple, TypeVar

import msgspec

from app.decisions import Decision, DecisionBatch
from app.errors import InvalidMessage, UnknownMessage
from app.events import Event
from app.lines import Lines
from app.predictions import Prediction, PredictionBatch

Headers = Sequence[tuple[str, bytes]]
M = TypeVar("M")

SOURCE = "/millrace"
_AT = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<field>[^`]*)`)?$", re.DOTALL)
_encoder = msgspec.json.Encoder()

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no message; the last for brackets within brackets, thousands deep."""


class Record(NamedTuple):
    """A record as Kafka holds it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Failure(NamedTuple):
    """A record that could not be decoded, and why."""

    record: Record
    error: InvalidMessage


def encode(message: msgspec.Struct) -> bytes:
    """The JSON value of any message."""
    return _encoder.encode(message)


def encode_all(messages: Sequence[msgspec.Struct]) -> list[bytes]:
    """The JSON values of many messages: what `encode` gives for each, in one call."""
    return _encoder.encode_lines(messages).split(b"\n")[:-1]


Message = Event | Prediction | PredictionBatch | Decision | DecisionBatch


def context(message: Message, traceparent: str | None = None) -> Headers:
    """The CloudEvents 1.0 binary-mode headers of a message, with the W3C trace it belongs to."""
    if isinstance(message, Prediction):
        identity, source = f"{message.event_id}.{message.model}.{message.version}", f"{SOURCE}/agents/{message.model}"
    elif isinstance(message, PredictionBatch):
        rows = f"{message.offset[0]}-{message.offset[-1]}" if len(message) else ""
        identity = f"{message.topic}.{message.partition}@{rows}.{message.model}.{message.version}"
        source = f"{SOURCE}/agents/{message.model}"
    elif isinstance(message, DecisionBatch):
        identity, source = f"{message.kind}.{message.partition}@{message.offset}", f"{SOURCE}/decision"
    elif isinstance(message, Decision):
        identity, source = message.decision_id, f"{SOURCE}/decision"
    else:
        identity, source = message.event_id, f"{SOURCE}/gateway"
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", identity.encode()),
        ("ce_type", str(message.__struct_config__.tag).encode()),
        ("ce_source", source.encode()),
        ("ce_time", message.at.astimezone(UTC).isoformat().encode()),
        ("content-type", b"application/json"),
    )
    return (*headers, ("traceparent", traceparent.encode())) if traceparent else headers


def header(headers: Iterable[tuple[str, bytes]], name: str) -> str | None:
    """One header as text, the last of that name; `None` where it is absent or not UTF-8."""
    value = dict(headers).get(name)  # several times quicker than to look at one after another
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def explain(error: Exception) -> InvalidMessage:
    """Msgspec's word on a bad message as our error, with the path of the field set apart."""
    if isinstance(error, RecursionError):
        return InvalidMessage("nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return InvalidMessage("not UTF-8")
    match = _AT.match(str(error))
    problem, field = (match["problem"], match["field"] or "") if match else (str(error), "")
    if field == "type":
        return UnknownMessage(f"unknown message type or version: {problem}", field)
    return InvalidMessage(problem, field)


class Decoder(Generic[M]):
    """Decodes the messages of one topic: any member of a union of tagged structs.

    Example:
        >>> from app.events import AnyUpload
        >>> decoder = Decoder(AnyUpload)
        >>> decoder.decode(b'{"type": "millrace.content.uploaded.v9"}')
        Traceback (most recent call last):
        app.errors.UnknownMessage: type: unknown message type or version: Invalid value 'millrace.content.uploaded.v9'
    """

    def __init__(self, messages: object) -> None:
        self._decoder: msgspec.json.Decoder[M] = msgspec.json.Decoder(messages)
        self._lines = Lines[M](messages)
        self._messages = messages

    def decode(self, value: bytes | None, headers: Headers = ()) -> M:
        """One message. Raises `InvalidMessage` with the path of the field that is wrong.

        A foreign producer may leave `type`, `event_id` and `at` to the CloudEvents headers: they fill in what the
        value does not say.
        """
        if not value:
            raise InvalidMessage("the record has no value")
        try:
            return self._decoder.decode(value)
        except _UNREADABLE as error:
            completed = _complete(value, headers)
            if completed is None:
                raise explain(error) from error
        try:
            message: M = msgspec.convert(completed, self._messages)
            return message
        except _UNREADABLE as error:
            raise explain(error) from error

    def decode_batch(self, records: Sequence[Record]) -> tuple[list[M | None], list[Failure]]:
        """Many messages at once: `None` stands where a record failed, and the failures say why.

        The whole batch goes to msgspec as one newline-delimited document, several times faster than one call per
        record; a batch that does not come out line for line is decoded one by one.
        """
        values = [record.value for record in records if record.value is not None]
        if len(values) == len(records) > 1:
            document = b"\n".join(values)
            if document.count(b"\n") == len(values) - 1:
                try:
                    messages = self._lines.decode(document)
                except (*_UNREADABLE, InvalidMessage):
                    messages = []
                if len(messages) == len(records):
                    return list(messages), []
        return self._one_by_one(records)

    def _one_by_one(self, records: Sequence[Record]) -> tuple[list[M | None], list[Failure]]:
        messages: list[M | None] = []
        failures: list[Failure] = []
        for record in records:
            try:
                messages.append(self.decode(record.value, record.headers))
            except InvalidMessage as error:
                messages.append(None)
                failures.append(Failure(record, error))
        return messages, failures


def _complete(value: bytes, headers: Headers) -> dict[str, object] | None:
    """The JSON object with what CloudEvents headers add to it; `None` where they add nothing."""
    named = {"type": header(headers, "ce_type"), "event_id": header(headers, "ce_id"), "at": header(headers, "ce_time")}
    try:
        body = msgspec.json.decode(value)
    except _UNREADABLE:
        return None
    if not isinstance(body, dict):
        return None
    added = {name: text for name, text in named.items() if text is not None and name not in body}
    return {**body, **added} if added else None
