"""The declaration of an agent: what it consumes, how it turns events into features, which model scores them.

It knows nothing of Faust: `app/modes` runs it in streaming, request-reply and batch, through the one `score`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from app import declared
from app.boosting import lightgbm_model
from app.events import OPENING, Event
from app.predictions import Detail, Stage
from app.registry import Artifact

Values = NDArray[np.float64]
Features = Any
"""(n, d): a dense float64 array, or a scipy CSR matrix. Row i depends on event i (and the state before it) alone."""


class Model(Protocol):
    """Something trained. Same row, same bits, whatever else is in the batch."""

    def predict(self, features: Features) -> Values:
        """One value per row: (n, d) -> (n,)."""
        ...


class State(Protocol):
    """What a stateful agent remembers of one partition: a fold over its events, in order."""

    def dump(self) -> bytes:
        """A snapshot; `restore(dump())` behaves the same, bit for bit."""
        ...

    @classmethod
    def restore(cls, snapshot: bytes) -> Self: ...


class Shared(Protocol):
    """What a stateful agent shares between all its workers: it keeps itself, in the database."""

    def __init__(self, database_url: str, *, remember: bool = True) -> None:
        """With `remember=False` it is only asked: what it is shown changes nothing, and no row sees the others."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


@dataclass
class Scores:
    """What one call of `score` says of n events.

    Attributes:
        values: (n,) float64, in the agent's unit; NaN where there is none.
        details: n JSON-encodable extras, or empty when the agent gives none.
        problems: row -> why it has no value. A row that is only followed has neither a value nor a problem.
        entered: n places in a state that workers share, or empty when the agent has none; see `Prediction.entered`.
    """

    values: Values
    details: Sequence[Detail | None] = ()
    problems: dict[int, str] = field(default_factory=dict)
    entered: Sequence[int | None] = ()


def _all_nan(features: Features) -> NDArray[np.bool_]:
    if isinstance(features, np.ndarray):
        return np.asarray(np.isnan(features).all(axis=1), dtype=np.bool_)
    return np.zeros(features.shape[0], dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Agent:
    """A declaration; see `agent` and `Options` for what the fields mean."""

    name: str
    consumes: tuple[type[Event], ...]
    unit: str
    features: Callable[..., Features]
    follows: tuple[type[Event], ...] = ()
    hears: tuple[type[Event], ...] = ()
    low: float = -np.inf
    high: float = np.inf
    load: Callable[[Artifact], Model] = lightgbm_model
    detail: Callable[[Any, Sequence[Any], Features, Values], Sequence[Detail | None]] | None = None
    state: type[State] | None = None
    stateless: tuple[type[Event], ...] = ()
    shared: type[Shared] | None = None
    entered: Callable[[Any], Sequence[int | None]] | None = None
    unscorable: str = "its features are all missing"
    max_batch: int = 4096
    within: timedelta = timedelta(0)

    def scores(self, event: Event) -> bool:
        """Whether this event gets a prediction (the others of the topic are followed or passed over)."""
        return isinstance(event, self.consumes)

    def sees(self, event: Event) -> bool:
        """Whether this event reaches `features` at all."""
        return isinstance(event, self.consumes + self.follows + self.hears)

    def stage(self, event: Event) -> Stage:
        return "initial" if isinstance(event, OPENING) else "correction"

    def extract(self, events: Sequence[Event], state: object = None) -> Features:
        """The features of a batch; folds the batch into the state of a stateful agent, so call it once per event."""
        return self.features(events) if state is None else self.features(events, state)

    def evaluate(self, model: Model, events: Sequence[Event], features: Features) -> Scores:
        """The model's word on features already extracted; may be called again on a part of the rows."""
        values = np.asarray(model.predict(features), dtype=np.float64)
        if values.shape != (len(events),):
            raise ValueError(f"{self.name}: the model answered {values.shape} for {len(events)} rows")
        missing = _all_nan(features)
        values = np.where(missing, np.nan, values)
        details = self.detail(model, events, features, values) if self.detail else ()
        scores = Scores(values, details, entered=self.entered(features) if self.entered else ())
        usable = np.isfinite(values) & (values >= self.low) & (values <= self.high)
        for row in np.flatnonzero(~usable).tolist():
            if self.scores(events[row]):
                scores.problems[row] = self._problem(bool(missing[row]), float(values[row]))
            values[row] = np.nan
        return scores

    def score(self, model: Model, events: Sequence[Event], state: object = None) -> Scores:
        """Features, then the model: the same function live, on request and in batch, with the same bits."""
        return self.evaluate(model, events, self.extract(events, state))

    def _problem(self, missing: bool, value: float) -> str:
        if missing:
            return self.unscorable
        if np.isnan(value):
            return "the model answered NaN"
        return f"the model answered {value:g} {self.unit}, outside {self.low:g} to {self.high:g}"


class Options(TypedDict, total=False):
    """What else an agent may declare.

    Attributes:
        follows: events that move the state and get no prediction.
        hears: events the state of *every* partition is told of, whatever their key (broadcast state): few, and on a topic of
            their own. A state that hears, or that spans several topics, must not depend on the order between topics.
        low, high: a value outside makes its row a failed one; no bounds by default.
        load: artifact -> model; LightGBM's text form by default.
        detail: (model, events, features, values) -> extras of each prediction.
        state: a fold over the events of a partition; the features function gets it as its second argument.
        stateless: events whose features do not rest on the state, though they may move it.
        shared: a state that all workers share, kept in the database; handed over as `state` is.
        entered: features -> the place of each event in the shared state, from 1 on, in the order in which it was told. An answer
            must rest on nothing that was entered later, however often it is asked for.
        unscorable: why a row may be all NaN, as a dead letter says it.
        max_batch: rows of one call at most.
        within: how long the first record may wait for a fuller batch.
    """

    follows: tuple[type[Event], ...]
    hears: tuple[type[Event], ...]
    low: float
    high: float
    load: Callable[[Artifact], Model]
    detail: Callable[[Any, Sequence[Any], Features, Values], Sequence[Detail | None]]
    state: type[State]
    stateless: tuple[type[Event], ...]
    shared: type[Shared]
    entered: Callable[[Any], Sequence[int | None]]
    unscorable: str
    max_batch: int
    within: timedelta


def agent(
    name: str, *, consumes: tuple[type[Event], ...], unit: str, **options: Unpack[Options]
) -> Callable[[Callable[..., Features]], Agent]:
    """Declare an agent by decorating its features function: n events -> (n, d), a row that cannot be computed NaN throughout.

    Args:
        name: the model's bare name; the module, the consumer group and the artifact bear it too.
        consumes: the events that get a prediction each.
        unit: of the value: "min", "usd", "probability", "similarity".
        options: see `Options`.
    """

    def declare(features: Callable[..., Features]) -> Agent:
        return Agent(name=name, consumes=consumes, unit=unit, features=features, **options)

    return declare


def find(name: str) -> Agent:
    """The agent `name` of module `agents.<name>`. Raises `ConfigurationError` that lists the agents there are."""
    return declared.find("agents", name, Agent, name)


def names() -> list[str]:
    """Every agent there is, by name, without loading any."""
    return declared.names("agents")
