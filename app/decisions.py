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


class DecisionBatch(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="millrace.decisions.v1"
):
    """The decisions on n card transactions, in columns: one to each `app.predictions.PredictionBatch` (docs/decisions/0007).

    The decision on a row is idempotent by `<event_id>.0`, its `decision_id`.

    Attributes:
        at: when their predictions were ready, so that a second delivery is the same to the byte.
        partition, offset: of the record of predictions that was decided.
        value: the model's, in `unit`; what each decision rests on.

    Raises `ValueError` when the columns are not of one length.
    """

    kind: Kind
    model: str
    version: str
    unit: str
    at: datetime
    partition: int
    offset: int
    event_id: list[str]
    subject_id: list[str]
    user_id: list[str]
    value: list[float]
    action: list[Action]

    def __post_init__(self) -> None:
        if len({len(column) for column in (self.event_id, self.subject_id, self.user_id, self.value, self.action)}) > 1:
            raise ValueError("its columns are not of one length")

    def __len__(self) -> int:
        return len(self.event_id)
