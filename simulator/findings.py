"""What a run found out: which decisions came, how fast, resting on what, and how far they were from the truth.

Fed by the senders (what was asked, how it came out) and the audience (what was answered); read by `report`. Pure.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from app.decisions import Figure
from app.events import OPENING, AnyEvent, RideCompleted
from app.live import AnyLive, LiveDecision, LivePrediction

TRUTHS = {"duration": "duration_min", "cost": "fare_usd", "tip": "tip_usd"}
"""The figures whose truth a completed ride tells, by model: the field of `RideCompleted`."""


class Error(NamedTuple):
    """How far a model's first figures were from what came of the rides."""

    model: str
    version: str
    n: int
    mae: float
    rmse: float
    bias: float


class Latency(NamedTuple):
    """Milliseconds from the first POST of an event to its decision at the user's end."""

    p50: float
    p99: float
    max: float


@dataclass
class Findings:
    """Of one run.

    Attributes:
        asked: opening events the gateway accepted: when each was first sent.
        decided: opening events whose decision came live: when it did.
        stored: those whose decision did not come live but was found by asking.
        revisions: later decisions on the same event.
        lacking: decisions made without a model's answer, by model.
        predictions: figures on this run's subjects that came live, by (model, stage).
        again: decision events heard a second time under another id than the first (must stay 0).
    """

    asked: dict[str, float] = field(default_factory=dict)
    decided: dict[str, float] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    subjects: dict[str, tuple[str, str]] = field(default_factory=dict)
    revisions: int = 0
    lacking: Counter[str] = field(default_factory=Counter)
    predictions: Counter[tuple[str, str]] = field(default_factory=Counter)
    again: int = 0
    _ours: set[tuple[str, str]] = field(default_factory=set)
    _figures: dict[str, tuple[Figure, ...]] = field(default_factory=dict)
    _outcomes: dict[str, RideCompleted] = field(default_factory=dict)

    def posting(self, event: AnyEvent, due: float, at: float) -> None:  # noqa: ARG002  # we count from the POST
        """See `pace.Witness`; an event counts once it was sent, whatever becomes of the answer."""
        if isinstance(event, OPENING):
            self.asked[event.event_id] = at
            self.subjects[event.event_id] = event.subject_id, event.user_id
            self._ours.add((event.subject_id, event.user_id))
        elif isinstance(event, RideCompleted):
            self._outcomes[event.ride_id] = event

    def refused(self, event: AnyEvent) -> None:
        """See `pace.Witness`."""
        self.asked.pop(event.event_id, None)

    def hear(self, message: AnyLive, at: float) -> None:
        """A live message came."""
        if isinstance(message, LivePrediction):
            if (message.subject_id, message.user_id) in self._ours:
                self.predictions[message.model, message.stage] += 1
        elif isinstance(message, LiveDecision) and message.event_id in self.asked:
            self._decision(message, at)

    def found(self, event_id: str) -> None:
        """The store holds a decision that did not come live."""
        self.stored.add(event_id)

    @property
    def missing(self) -> list[str]:
        """Opening events that have no decision, neither live nor in the store."""
        return [event_id for event_id in self.asked if event_id not in self.decided and event_id not in self.stored]

    def latency(self) -> Latency | None:
        """Over all decisions that came live; `None` before the first."""
        took = sorted(self.decided[event_id] - self.asked[event_id] for event_id in self.decided)
        if not took:
            return None
        return Latency(*(round(1000 * _quantile(took, q), 1) for q in (0.5, 0.99, 1.0)))

    def errors(self) -> list[Error]:
        """By model and version, over the rides that were decided and completed; reckoned here, without the system's help."""
        apart: dict[tuple[str, str], list[float]] = {}
        for subject_id, figures in self._figures.items():
            outcome = self._outcomes.get(subject_id)
            for figure in figures if outcome else ():
                truth = getattr(outcome, TRUTHS.get(figure.model, ""), None)
                if truth is not None:
                    apart.setdefault((figure.model, figure.version), []).append(figure.value - truth)
        return [_error(model, version, errors) for (model, version), errors in sorted(apart.items())]

    def _decision(self, decision: LiveDecision, at: float) -> None:
        if decision.revision:
            self.revisions += 1
        elif decision.event_id in self.decided:
            self.again += 1
            return
        self.decided.setdefault(decision.event_id, at)
        self.lacking.update(decision.missing if not decision.revision else ())
        if decision.kind == "ride":
            self._figures.setdefault(decision.subject_id, decision.predictions)


def _error(model: str, version: str, errors: list[float]) -> Error:
    n = len(errors)
    mae, bias = sum(map(abs, errors)) / n, sum(errors) / n
    return Error(model, version, n, mae, math.sqrt(sum(error * error for error in errors) / n), bias)


def _quantile(ordered: list[float], q: float) -> float:
    """The smallest value that at least the share q does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
