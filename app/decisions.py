"""Decisions: what is done about a subject; they live on the topic `decisions`, in the store and on the live channel."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from app.events import Kind
from app.predictions import Detail

Action = Literal["quote", "confirm", "keep", "review", "remove", "allow", "block"]
"""Rides: `quote` the figures, or ask the rider to `confirm` first. Uploads: `keep`, `review` by a person, `remove`.
Card transactions: `allow`, `review` by a person before it is booked, `block`."""


class Figure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model's contribution to a decision."""

    model: str
    version: str
    value: float
    unit: str
    detail: Detail | None = None


class Decision(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="millrace.decision.v1"):
    """The decision on one subject; idempotent by `decision_id`.

    Attributes:
        decision_id: `<event_id>.<revision>`: the opening event, and which answer to it.
        event_id: the opening event (an update of an upload is an opening event of its own).
        event_at: event time of the opening event.
        at: wall clock, when it was decided; of a card transaction, when its prediction was ready, so that the decision is
            the same to the byte however often the prediction is delivered.
        reasons: sentences a person can read, the decisive one first.
        predictions: the figures it rests on, by model name.
        missing: expected models that had not answered by the deadline.
        revision: 0 for the first answer; a late prediction yields the next.
    """

    decision_id: str
    subject_id: str
    user_id: str
    kind: Kind
    event_id: str
    event_at: datetime
    at: datetime
    action: Action
    reasons: tuple[str, ...]
    predictions: tuple[Figure, ...]
    missing: tuple[str, ...] = ()
    revision: int = 0
