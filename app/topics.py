"""THE table of topics: what lives where, keyed by what, kept how long. Creating and checking them happens at start."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from app.decisions import Decision
from app.events import AnyRide, AnyUpload
from app.predictions import Prediction


@dataclass(frozen=True)
class Topic:
    """One row of the table.

    Attributes:
        messages: the union of message types it carries; `None` for bytes we do not interpret.
        key: the field that is the Kafka key.
        copartitioned: shares its partition count with every other such topic, so that one decision worker owns the
            same users on all of them.
    """

    name: str
    messages: object
    key: str
    retention: timedelta
    cleanup: Literal["delete", "compact"] = "delete"
    copartitioned: bool = True


RIDES = Topic("rides", AnyRide, "user_id", timedelta(days=7))
UPLOADS = Topic("uploads", AnyUpload, "user_id", timedelta(days=7))
PREDICTIONS = Topic("predictions", Prediction, "user_id", timedelta(days=7))
DECISIONS = Topic("decisions", Decision, "user_id", timedelta(days=30))
DEAD_LETTERS = Topic("dead-letters", None, "key of the record", timedelta(days=30), copartitioned=False)

TOPICS = (RIDES, UPLOADS, PREDICTIONS, DECISIONS, DEAD_LETTERS)


def state_topic(agent: str) -> Topic:
    """The snapshots of a stateful agent: partition i of this topic holds those of partition i of its input."""
    return Topic(f"state.{agent}", None, "partition", timedelta(days=3650), cleanup="compact")
