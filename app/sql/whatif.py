"""What another version would have changed: its answers beside what was said, decided and true then. Pure.

`app.modes.replay.reports` feeds it row by row and keeps what it comes to.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from math import sqrt
from typing import NamedTuple

from app.decisions import Decision, Figure
from app.events import Kind
from app.predictions import Detail, Stage
from app.sql.ledger import iso_week

Judge = Callable[[Kind, Mapping[str, Figure]], str]
"""The policy: a kind and the figures by model name -> the action."""

ENOUGH = 30
"""Pairs for which the mean is taken to be normal; of fewer no interval is given."""

_Z95 = 1.959964  # of the normal distribution, two-sided 95 %


class Replayed(NamedTuple):
    """One answer of the replay; `at_us` is event time, microseconds since 1970."""

    user_id: str
    event_id: str
    subject_id: str
    stage: Stage
    value: float
    at_us: int
    zone: int | None
    detail: Detail | None


class Then(NamedTuple):
    """What is known of the same event: the model's live answer, the last decision on it, what would have been right."""

    value: float | None = None
    decision: Decision | None = None
    truth: float | None = None


class Flip(NamedTuple):
    """A decision that would have been another."""

    of: Replayed
    was: str
    would_be: str
    value_then: float | None


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


@dataclass
class Loss:
    """Sums of a loss over n answers whose truth is known, and over those of them that have a live answer too.

    The loss is the absolute error; of a probability the squared one, whose mean is the Brier score.

    >>> loss = Loss()
    >>> for wrong_by in range(40):
    ...     loss.add(10.0 + wrong_by % 2, 10.0, 12.0)
    >>> loss.now, loss.then, loss.change.mean, loss.change.high < 0
    (0.5, 2.0, -1.5, True)
    """

    squared: bool = False
    n: int = 0
    total: float = 0.0
    total_squares: float = 0.0
    pairs: int = 0
    total_then: float = 0.0
    total_change: float = 0.0
    total_change_squares: float = 0.0

    def add(self, value: float, truth: float, then: float | None) -> None:
        loss = self._of(value - truth)
        self.n += 1
        self.total += loss
        self.total_squares += (value - truth) ** 2
        if then is not None:
            before = self._of(then - truth)
            self.pairs += 1
            self.total_then += before
            self.total_change += loss - before
            self.total_change_squares += (loss - before) ** 2

    @property
    def now(self) -> float:
        return self.total / self.n

    @property
    def rmse(self) -> float:
        return sqrt(self.total_squares / self.n)

    @property
    def then(self) -> float | None:
        return self.total_then / self.pairs if self.pairs else None

    @property
    def change(self) -> Interval | None:
        """Mean loss now minus then, over the pairs: negative is better. Pairs are taken to be independent."""
        if self.pairs < ENOUGH:
            return None
        mean = self.total_change / self.pairs
        variance = max(0.0, self.total_change_squares - self.pairs * mean * mean) / (self.pairs - 1)
        wide = _Z95 * sqrt(variance / self.pairs)
        return Interval(mean, mean - wide, mean + wide)

    def _of(self, error: float) -> float:
        return error * error if self.squared else abs(error)


@dataclass
class Spread:
    """Where values lie."""

    n: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)


class ErrorKey(NamedTuple):
    """Which answers: of a stage, and all of them, or those of a zone, an hour of the day, or a week."""

    stage: Stage
    slice: str
    key: str


@dataclass
class Report:
    """One model's replayed answers beside what was.

    Args:
        zone: whose wall clock tells the hour.

    Attributes:
        answered: of the predicted, the live answer is known too.
        decided: opening events whose decision is known.
        flipped: of these, the action would have been another.
        drifted: of these, today's policy says something else even of the figures of then.
        actions: (what was done, what would have been done) -> the values.
    """

    model: str
    version: str
    unit: str
    judge: Judge
    zone: tzinfo = UTC
    predicted: int = 0
    answered: int = 0
    decided: int = 0
    flipped: int = 0
    drifted: int = 0
    first_us: int | None = None
    last_us: int | None = None
    actions: defaultdict[tuple[str, str], Spread] = field(default_factory=lambda: defaultdict(Spread))
    errors: dict[ErrorKey, Loss] = field(default_factory=dict)

    def add(self, row: Replayed, then: Then) -> Flip | None:
        """Count one answer; the flip, where it is one."""
        self.predicted += 1
        self.answered += then.value is not None
        self.first_us = row.at_us if self.first_us is None else min(self.first_us, row.at_us)
        self.last_us = row.at_us if self.last_us is None else max(self.last_us, row.at_us)
        if then.truth is not None:
            self._measure(row, then.truth, then.value)
        if then.decision is None or row.stage != "initial":
            return None
        return self._decide(row, then.decision, then.value)

    def _measure(self, row: Replayed, truth: float, then: float | None) -> None:
        at = datetime.fromtimestamp(row.at_us / 1e6, self.zone)
        slices = {"all": "", "hour": f"{at.hour:02}", "week": iso_week(at)}
        if row.zone is not None:
            slices["zone"] = str(row.zone)
        for slice_, key in slices.items():
            loss = self.errors.setdefault(ErrorKey(row.stage, slice_, key), Loss(self.unit == "probability"))
            loss.add(row.value, truth, then)

    def _decide(self, row: Replayed, decision: Decision, then: float | None) -> Flip | None:
        figures = {figure.model: figure for figure in decision.predictions}
        mine = Figure(model=self.model, version=self.version, value=row.value, unit=self.unit, detail=row.detail)
        would_be = self.judge(decision.kind, {**figures, self.model: mine})
        self.decided += 1
        self.drifted += self.judge(decision.kind, figures) != decision.action
        self.actions[decision.action, would_be].add(row.value)
        if would_be == decision.action:
            return None
        self.flipped += 1
        return Flip(row, decision.action, would_be, then)
