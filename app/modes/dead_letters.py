"""Dead letters: the record itself, untouched, with headers that say who could not handle it and why.

Written by the loop, read by `millrace dlq`.
"""

from datetime import datetime

from app.bus import Outgoing
from app.codec import Record
from app.errors import InvalidMessage, UnknownMessage
from app.topics import DEAD_LETTERS

SCORING_FAILED = "scoring_failed"


def cause_of(error: InvalidMessage) -> str:
    """The short code of why a record could not be read."""
    return "unknown_message" if isinstance(error, UnknownMessage) else "invalid_message"


def dead_letter(record: Record, agent: str, cause: str, error: str, at: datetime) -> Outgoing:
    """The record as a dead letter: key, value and headers as they came, and `dlq.*` beside them."""
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
    headers = (*record.headers, *((name, text.encode()) for name, text in added.items()))
    return Outgoing(DEAD_LETTERS.name, record.key, record.value, headers)
