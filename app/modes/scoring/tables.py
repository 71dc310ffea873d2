"""Predictions in columns: a batch that was scored becomes one record instead of many (docs/decisions/0007).

Below `app.modes.scoring.process`, for the kinds of subject whose predictions' topic carries columns (`app.topics`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, get_args

import numpy as np

from app.agent import Agent, Scores, Values
from app.codec import Record, encode, header
from app.events import AnyEvent, Kind
from app.predictions import Details, Prediction, PredictionBatch, Via
from app.telemetry import child_of
from app.topics import predictions_of

IN_COLUMNS = frozenset(kind for kind in get_args(Kind) if predictions_of(kind).messages is PredictionBatch)
"""The kinds of subject whose predictions go out in columns."""

MOST_ROWS = 4_096
"""At most in one record: at some 170 bytes a row that is 0.7 MB, of the one that its topic takes. A larger one is halved."""


class Table(NamedTuple):
    """Predictions in columns, and the records they answer, row by row; to be delivered to `partition`."""

    records: Sequence[Record]
    batch: PredictionBatch
    partition: int

    def part(self, first: int, end: int) -> "Table":
        return Table(self.records[first:end], self.batch.some(range(first, end)), self.partition)


class Said(NamedTuple):
    """Who says it, and how: what every row of a table shares."""

    agent: Agent
    version: str
    arm: str
    via: Via
    at: datetime


def tables(said: Said, records: Sequence[Record], events: Sequence[AnyEvent], scores: Scores) -> Iterator[Table]:
    """What was said of n records of one partition, in tables of `MOST_ROWS` at most; a type of event has its own."""
    kinds = {type(event): event for event in events}
    every = _Rows(records, events, scores.values, Details.of(scores.details).columns())
    for one in kinds.values():
        if said.agent.scores(one):
            whole = len(kinds) == 1 and not scores.problems
            some = every if whole else every.where(lambda row: row not in scores.problems, type(one))
            for start in range(0, len(some.events), MOST_ROWS):
                yield _table(said, some.part(start, start + MOST_ROWS))


def table_of(record: Record, said: Prediction) -> Table:
    """One prediction, as the answer to this record, on its partition."""
    key = (record.key or said.user_id.encode()).decode(errors="replace")
    return Table([record], PredictionBatch.of([said], [key], _traces([record])), record.partition)


def fitting(table: Table, most_bytes: int) -> Iterator[tuple[Table, bytes]]:
    """The table and its message; in halves while that is too large, unless it is of one row."""
    value = encode(table.batch)
    if len(value) <= most_bytes or len(table.records) == 1:
        yield table, value
        return
    middle = len(table.records) // 2
    for half in (table.part(0, middle), table.part(middle, len(table.records))):
        yield from fitting(half, most_bytes)


def latencies_ms(records: Sequence[Record], at: datetime) -> list[float]:
    """From the timestamps of these records to this moment, never negative, rounded to microseconds."""
    passed = at.timestamp() * 1000 - np.array([record.timestamp_ms for record in records], np.float64)
    rounded: list[float] = np.round(np.maximum(passed, 0.0), 3).tolist()
    return rounded


class _Rows(NamedTuple):
    """What is known of n events: n of each, and columns of n."""

    records: Sequence[Record]
    events: Sequence[AnyEvent]
    values: Values
    details: Mapping[str, list[object]]

    def where(self, holds: Callable[[int], bool], kind: type[AnyEvent]) -> "_Rows":
        """The events of this type for whose row it holds."""
        rows = [row for row, event in enumerate(self.events) if type(event) is kind and holds(row)]
        return _Rows(
            [self.records[row] for row in rows],
            [self.events[row] for row in rows],
            self.values[rows],
            {name: [column[row] for row in rows] for name, column in self.details.items()},
        )

    def part(self, first: int, end: int) -> "_Rows":
        details = {name: column[first:end] for name, column in self.details.items()}
        return _Rows(self.records[first:end], self.events[first:end], self.values[first:end], details)


def _table(said: Said, rows: _Rows) -> Table:
    records, events, first = rows.records, rows.events, rows.records[0]
    batch = PredictionBatch(
        kind=events[0].kind,
        model=said.agent.name,
        version=said.version,
        unit=said.agent.unit,
        topic=first.topic,
        partition=first.partition,
        at=said.at,
        event_id=[event.event_id for event in events],
        subject_id=[event.subject_id for event in events],
        user_id=[event.user_id for event in events],
        key=[event.key for event in events],
        event_at=[event.at for event in events],
        offset=[record.offset for record in records],
        value=rows.values.tolist(),
        latency_ms=latencies_ms(records, said.at),
        stage=said.agent.stage(events[0]),
        arm=said.arm,
        via=said.via,
        detail=dict(rows.details),
        traceparent=_traces(records),
    )
    return Table(records, batch, first.partition)


def _traces(records: Sequence[Record]) -> dict[int, str]:
    """Row -> the next span of its trace; most records of a flood have no headers at all."""
    of = (
        (row, child_of(header(record.headers, "traceparent"))) for row, record in enumerate(records) if record.headers
    )
    return {row: trace for row, trace in of if trace is not None}
