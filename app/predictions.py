"""Predictions: what an agent says of one event, and of many in columns; they live on `predictions`, `predictions.transactions`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self, overload

from msgspec import Meta, Struct, structs

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


Entered = Annotated[int, Meta(ge=1, lt=2**53)]
"""Exact in a float64, too: what an agent knows of an event travels as features."""


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
        entered: only where the agent's workers share a state: the number under which the state was told of this event. Numbers
            rise, with gaps, across all partitions, between which the log has no order; the answer rests on nothing with a
            greater number (docs/decisions/0009).
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
    entered: Entered | None = None


class PredictionBatch(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="millrace.predictions.v1"
):
    """What one model said of n events of one partition: `Prediction`s in columns, one record instead of n (docs/decisions/0007).

    A plain field is as in `Prediction` and holds for all rows; a list is a column, named as the field it holds, with one
    entry per row.

    Attributes:
        key: what each event is keyed by (`Event.key`), which a record of many has no other place for.
        detail: the columns of `Prediction.detail`; `null` where a row does not have that name.
        traceparent: row -> the W3C trace its prediction belongs to; only of rows that belong to one.

    Raises `ValueError` when the columns are not of one length.
    """

    kind: Kind
    model: str
    version: str
    unit: str
    topic: str
    partition: int
    at: datetime
    event_id: list[str]
    subject_id: list[str]
    user_id: list[str]
    key: list[str]
    event_at: list[datetime]
    offset: list[int]
    value: list[float]
    latency_ms: list[float]
    stage: Stage = "initial"
    arm: str = "live"
    via: Via = "stream"
    detail: dict[str, list[object]] = {}
    traceparent: dict[int, str] = {}

    def __post_init__(self) -> None:
        if len(set(map(len, self._columns()))) > 1:
            raise ValueError("its columns are not of one length")
        if self.traceparent and not all(0 <= row < len(self) for row in self.traceparent):
            raise ValueError("it has a trace of a row it does not have")

    @classmethod
    def of(cls, said: Sequence[Prediction], keys: Sequence[str], traceparent: Mapping[int, str] | None = None) -> Self:
        """Predictions, one at least, that share all that is no column; `keys` are their events'."""
        shared = {name: getattr(said[0], name) for name in _SHARED}
        columns: dict[str, Any] = {name: [getattr(each, name) for each in said] for name in _IN_COLUMNS}
        detail = Details.of([each.detail for each in said]).columns()
        return cls(**shared, **columns, key=list(keys), detail=detail, traceparent=dict(traceparent or {}))

    def __len__(self) -> int:
        return len(self.event_id)

    def rows(self) -> Iterator[Prediction]:
        """The predictions, one by one, in order: the same bits as if each had been a record of its own."""
        shared = {name: getattr(self, name) for name in _SHARED}
        columns = zip(*(getattr(self, name) for name in _IN_COLUMNS), strict=True)
        for row, of_row in enumerate(columns):
            detail = {name: column[row] for name, column in self.detail.items() if column[row] is not None}
            yield Prediction(**shared, **dict(zip(_IN_COLUMNS, of_row, strict=True)), detail=detail or None)

    def some(self, rows: Sequence[int]) -> Self:
        """These of its rows, in this order."""
        place = {row: place for place, row in enumerate(rows)}
        taken: dict[str, object] = {name: [getattr(self, name)[row] for row in rows] for name in (*_IN_COLUMNS, "key")}
        taken["detail"] = {name: [column[row] for row in rows] for name, column in self.detail.items()}
        taken["traceparent"] = {place[row]: trace for row, trace in self.traceparent.items() if row in place}
        return structs.replace(self, **taken)

    def _columns(self) -> Iterator[list[object]]:
        yield from (getattr(self, name) for name in (*_IN_COLUMNS, "key"))
        yield from self.detail.values()


_IN_COLUMNS = ("event_id", "subject_id", "user_id", "event_at", "offset", "value", "latency_ms")
_SHARED = ("kind", "model", "version", "unit", "topic", "partition", "at", "stage", "arm", "via")


class Details(Sequence[Detail | None]):
    """The details of n predictions, kept in columns of equal length; read as a sequence, they are n rows.

    Example:
        >>> Details({"label": ["spam", "ham"]})[1]
        {'label': 'ham'}
    """

    def __init__(self, columns: Mapping[str, list[object]]) -> None:
        self._columns = columns

    @classmethod
    def of(cls, rows: Sequence[Detail | None]) -> "Details":
        """Rows in columns; `None` where a row does not have that name."""
        if isinstance(rows, Details):
            return rows
        names = dict.fromkeys(name for row in rows if row for name in row)
        return cls({name: [row.get(name) if row else None for row in rows] for name in names})

    def columns(self) -> dict[str, list[object]]:
        return dict(self._columns)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    @overload
    def __getitem__(self, row: int) -> Detail | None: ...
    @overload
    def __getitem__(self, row: slice) -> list[Detail | None]: ...
    def __getitem__(self, row: int | slice) -> Detail | list[Detail | None] | None:
        return self._rows[row]

    @cached_property
    def _rows(self) -> list[Detail | None]:
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*self._columns.values(), strict=True)]
