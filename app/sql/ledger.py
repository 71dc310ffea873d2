"""What the decision worker writes down after each micro-batch, as plain values: the join makes it, the store keeps it.

`decision.join` (pure) and `app.store` (SQL) meet here, so that neither knows the other.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Self

from msgspec import Struct

from app.decisions import Decision
from app.events import Kind, RideCancelled, RideCompleted
from app.predictions import Prediction, Stage

Truth = RideCompleted | RideCancelled
"""How a ride came out."""

UNDECIDED = -1


class SubjectKey(NamedTuple):
    """A subject belongs to one user: the same id used by another user is another subject."""

    user_id: str
    subject_id: str


class EventKey(NamedTuple):
    """An event's id is its client's to choose, so it is one user's only."""

    user_id: str
    event_id: str


class DecisionKey(NamedTuple):
    """A decision's id is made of its event's id: one user's only, too."""

    user_id: str
    decision_id: str

    @classmethod
    def of(cls, decision: Decision) -> Self:
        return cls(decision.user_id, decision.decision_id)


class Position(NamedTuple):
    """Where a record lies, and the broker's timestamp of it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Case(Struct, kw_only=True):
    """One opening event that asks for a decision.

    Attributes:
        position: where the opening event lies.
        seen_at: wall clock, when the decision worker first had it.
        traceparent: the W3C trace the opening event belongs to; its decisions belong to it, too.
        revision: of the last decision; `UNDECIDED` before the first.
    """

    event_id: str
    subject_id: str
    user_id: str
    kind: Kind
    event_at: datetime
    position: Position
    seen_at: datetime
    traceparent: str | None = None
    revision: int = UNDECIDED

    @property
    def key(self) -> SubjectKey:
        return SubjectKey(self.user_id, self.subject_id)

    @property
    def event_key(self) -> EventKey:
        return EventKey(self.user_id, self.event_id)


class Answer(NamedTuple):
    """A prediction and where it lies on the topic `predictions`."""

    prediction: Prediction
    partition: int
    offset: int


class Made(NamedTuple):
    """A decision, the partition its opening event lies on (whose worker must push it), and the trace it belongs to."""

    decision: Decision
    partition: int
    traceparent: str | None = None


class ErrorKey(NamedTuple):
    """Whose live error: a correction is measured apart from the first answer."""

    model: str
    version: str
    stage: Stage
    unit: str


class WeekKey(NamedTuple):
    """Whose live error, and of which week: that of the event time of what was predicted, as `iso_week` says it."""

    error: ErrorKey
    week: str


def iso_week(at: datetime) -> str:
    """The week by ISO 8601, by the calendar of `at`'s own zone.

    Example:
        >>> iso_week(datetime(2027, 1, 3, 23, 59))
        '2026-W53'
    """
    year, week, _ = at.isocalendar()
    return f"{year}-W{week:02}"


@dataclass
class ErrorSum:
    """Sums of errors (predicted minus true, in the model's unit); they add up, and may be taken back."""

    n: int = 0
    signed: float = 0.0
    absolute: float = 0.0
    squared: float = 0.0

    def add(self, error: float, sign: int = 1) -> None:
        """Count one error, or with `sign=-1` take one back."""
        self.n += sign
        self.signed += sign * error
        self.absolute += sign * abs(error)
        self.squared += sign * error * error

    def merge(self, other: "ErrorSum") -> None:
        self.n += other.n
        self.signed += other.signed
        self.absolute += other.absolute
        self.squared += other.squared


@dataclass
class Entry:
    """One transaction: everything is idempotent by its id except the error sums, which go with what is new here.

    Attributes:
        at: wall clock of the micro-batch.
    """

    at: datetime
    cases: dict[EventKey, Case] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    decisions: list[Made] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    errors: dict[WeekKey, ErrorSum] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.cases or self.answers or self.decisions or self.truths or self.errors)

    def merge(self, other: "Entry") -> None:
        """Take in what another partition has to write down at the same time."""
        self.cases.update(other.cases)
        self.answers += other.answers
        self.decisions += other.decisions
        self.truths += other.truths
        for key, total in other.errors.items():
            self.errors.setdefault(key, ErrorSum()).merge(total)


class Mark(NamedTuple):
    """How far a decision has been pushed: where it lies on the topic `decisions`, and whether Redis has it."""

    decision: DecisionKey
    partition: int
    offset: int
    published: bool


@dataclass
class Subject:
    """All that the store holds of one subject that the join needs to go on with it."""

    key: SubjectKey
    cases: list[Case] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    truth: Truth | None = None


class ChargeTally(NamedTuple):
    """What came of one choice about card transactions.

    Attributes:
        decided: how often it was made.
        reported: how many of those turned out to be frauds; of "allow", those never decided on here, too.
        reported_usd: their amounts.
    """

    action: str
    decided: int
    reported: int
    reported_usd: float


@dataclass(frozen=True)
class LiveError:
    """How wrong a model has been on what really happened.

    Attributes:
        stage: "initial", or "correction" (the last one of each subject).
        mae, rmse, bias: in `unit`; bias is the mean of predicted minus true.
        brier: mean squared error of a probability, in [0, 1]; `None` for other units.
    """

    model: str
    version: str
    stage: Stage
    unit: str
    n: int
    mae: float
    rmse: float
    bias: float
    brier: float | None


@dataclass(frozen=True)
class WeeklyError(LiveError):
    """The same of one week.

    Attributes:
        week: by ISO 8601, of the event time in UTC of what was predicted: "2026-W47".
    """

    week: str
