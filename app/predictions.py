"""Predictions: what an agent says of one event; they live on the topic `predictions`."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from app.events import Amount, Kind, Source

Detail = dict[str, object]
"""JSON-encodable extras of one prediction: `track` of `eta`, `of` of `duplicate`, `Charge` of `fraud`, probabilities by label."""


class Charge(Struct, frozen=True, gc=False):
    """The detail of `fraud`: what a decision needs to know of the transaction besides its probability.

    Attributes:
        amount_usd: of the transaction; what is at stake.
    """

    amount_usd: Amount
    terminal_id: str
    source: Source


Stage = Literal["initial", "correction"]
Via = Literal["stream", "ask"]


class Prediction(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="millrace.prediction.v1"):
    """One figure of one model for one event; idempotent by (event_id, model, version).

    Attributes:
        event_id: the event that was scored.
        subject_id: the ride or upload it is about.
        value: in `unit` ("min", "usd", "probability", "similarity").
        stage: "initial" answers the opening event, "correction" a later one of the same subject.
        via: how it came about: "stream", from an event on its topic; "ask", somebody asked, and no event stands behind it.
        arm: which arm of a rollout made it; "live" where there is no rollout.
        topic, partition, offset: the scored record.
        event_at: event time of the scored event.
        at: wall clock, when the value was ready.
        latency_ms: from the broker's timestamp of the scored record to `at`.
    """

    event_id: str
    subject_id: str
    user_id: str
    kind: Kind
    model: str
    version: str
    value: float
    unit: str
    topic: str
    partition: int
    offset: int
    event_at: datetime
    at: datetime
    latency_ms: float
    stage: Stage = "initial"
    arm: str = "live"
    via: Via = "stream"
    detail: Detail | None = None
