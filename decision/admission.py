"""What is let in from the topics: bytes to messages the join and the store can live with; the rest are dead letters. Pure.

Anyone may write to `predictions`, so a prediction is checked here as an event is at the gateway: one that the database
refuses would otherwise stop its partition for good.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from app import codec
from app.bus import Outgoing
from app.codec import Failure, Record
from app.errors import InvalidMessage
from app.events import NO_YEAR, YEARS, AnyEvent, Event
from app.modes.scoring.dead_letters import cause_of, dead_letter
from app.predictions import Prediction
from app.sql.ledger import Position
from app.telemetry import child_of
from app.topics import PREDICTIONS, RIDES, UPLOADS
from decision.join import Sourced

AGENT = "decision"

MAX_PREDICTION_BYTES = 128 << 10
"""A decision carries the figures of five models and has to fit into a record of 1 MB."""

MAX_NESTING = 32
"""Levels of brackets. What is nested deeper may be read here, and yet not be encoded later, from deeper in the stack."""

_SURELY_SMALL = MAX_PREDICTION_BYTES // 4
"""Written out anew, numbers grow up to fourfold: 1e15 becomes 1000000000000000.0."""

TOPICS = (RIDES, UPLOADS, PREDICTIONS)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")  # as `app.events.Id`
_NAME = re.compile(r"[\w.:+-]{1,64}\Z", re.ASCII)
_UNIT = re.compile(r"[\w/%.-]{1,16}\Z", re.ASCII)


class Admitted(NamedTuple):
    """A batch, sorted into what the join takes and what nobody can."""

    messages: list[Sourced]
    dead: list[Outgoing]


class Admission:
    """Reads the records of the decision worker's topics."""

    def __init__(self) -> None:
        self._decoders: dict[str, codec.Decoder[AnyEvent | Prediction]] = {
            topic.name: codec.Decoder(topic.messages) for topic in TOPICS
        }

    def admit(self, topic: str, records: Sequence[Record], now: datetime) -> Admitted:
        """Decode and check a batch of one topic."""
        messages, failures = self._decoders[topic].decode_batch(records)
        sourced: list[Sourced] = []
        for record, message in zip(records, messages, strict=True):
            if message is None:
                continue
            try:
                sourced.append(_sourced(record, message))
            except InvalidMessage as error:
                failures.append(Failure(record, error))
        dead = [dead_letter(record, AGENT, cause_of(error), str(error), now) for record, error in failures]
        return Admitted(sourced, dead)


def _sourced(record: Record, message: Event | Prediction) -> Sourced:
    position = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
    if isinstance(message, Prediction):
        _check(message, record)
        return Sourced(message, position)
    return Sourced(message, position, child_of(codec.header(record.headers, "traceparent")))


def _check(prediction: Prediction, record: Record) -> None:
    """Raises `InvalidMessage` naming the field that is wrong."""
    _check_size(prediction, record.value or b"")
    for field in ("event_id", "subject_id", "user_id"):
        if not _ID.match(getattr(prediction, field)):
            raise InvalidMessage("not an id", field)
    for field, pattern in (("model", _NAME), ("version", _NAME), ("unit", _UNIT)):
        if not pattern.match(getattr(prediction, field)):
            raise InvalidMessage("not a plain name", field)
    if not math.isfinite(prediction.value):
        raise InvalidMessage("not a finite number", "value")
    if prediction.event_at.tzinfo is None or prediction.at.tzinfo is None:
        raise InvalidMessage("a time without its offset", "event_at" if prediction.event_at.tzinfo is None else "at")
    for field, instant in (("event_at", prediction.event_at), ("at", prediction.at)):
        if instant.year not in YEARS:
            raise InvalidMessage(NO_YEAR, field)


def _check_size(prediction: Prediction, value: bytes) -> None:
    """Cheap for what is small and flat, as nearly all predictions are."""
    if value.count(b"[") + value.count(b"{") > MAX_NESTING and _is_deep(prediction.detail):
        raise InvalidMessage(f"nested deeper than {MAX_NESTING} levels", "detail")
    size = len(value)
    if _SURELY_SMALL < size <= MAX_PREDICTION_BYTES:
        size = len(codec.encode(prediction))
    if size > MAX_PREDICTION_BYTES:
        raise InvalidMessage(f"larger than {MAX_PREDICTION_BYTES} bytes")


def _is_deep(detail: object) -> bool:
    """Whether it goes deeper than `MAX_NESTING`; level by level, for it may be far deeper."""
    level = [detail]
    for _ in range(MAX_NESTING + 1):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        level = inner
    return bool(level)
