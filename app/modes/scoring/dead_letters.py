"""Dead letters: the record itself, untouched, with headers that say who could not handle it and why.

Written by the loop, read by `millrace dlq`.
"""

from datetime import datetime

from app.bus import Outgoing
from app.codec import Headers, Record
from app.errors import InvalidMessage, UnknownMessage
from app.topics import DEAD_LETTERS

SCORING_FAILED, PREDICTION_TOO_LARGE = "scoring_failed", "prediction_too_large"

MOST_BYTES = 19 << 20
"""Of a record as it came; the topic takes 20 MB. Larger ones exist: topics limit what is sent, which may be compressed."""

_KEY_BYTES = 1024  # a user id has 64 at most


def cause_of(error: InvalidMessage) -> str:
    """The short code of why a record could not be read."""
    return "unknown_message" if isinstance(error, UnknownMessage) else "invalid_message"


def dead_letter(record: Record, agent: str, cause: str, error: str, at: datetime) -> Outgoing:
    """The record as a dead letter: key, value and headers as they came, and `dlq.*` beside them.

    Of a record that is too large for the topic the headers tell where it lies, and `dlq.omitted_bytes` that it is not here.
    """
    added = {
        "dlq.agent": agent,
        "dlq.cause": cause,
        "dlq.error": error[:1000],
        "dlq.topic": record.topic,
        "dlq.partition": str(record.partition),
        "dlq.offset": str(record.offset),
        "dlq.timestamp_ms": str(record.timestamp_ms),
        "dlq.at": at.isoformat(),
    }
    size = _size(record)
    if size > MOST_BYTES:
        added["dlq.omitted_bytes"] = str(size)
        key = record.key if len(record.key or b"") < _KEY_BYTES else None
        return Outgoing(DEAD_LETTERS.name, key, None, _headers(added))
    return Outgoing(DEAD_LETTERS.name, record.key, record.value, (*record.headers, *_headers(added)))


def _size(record: Record) -> int:
    return (
        len(record.key or b"") + len(record.value or b"") + sum(len(name) + len(text) for name, text in record.headers)
    )


def _headers(added: dict[str, str]) -> Headers:
    return tuple((name, text.encode()) for name, text in added.items())
