"""What came out of a slice: which rows have an answer, and the answers in columns, without a message for each.

Between the scoring of `app.modes.scoring.process` and the targets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from app.agent import Agent
from app.codec import Record
from app.events import OPENING, AnyEvent
from app.modes.replay.plan import Span
from app.modes.scoring.process import Failed, Scored
from app.predictions import Stage

_LAST_MS = 253_402_214_400_000  # the last day there is a date for, 9999-12-31

_encode = msgspec.json.Encoder().encode

Zones = Callable[[Sequence[AnyEvent]], Sequence[int | None]]
"""Where each ride begins, a TLC zone; `None` for what begins nowhere."""


@dataclass
class Answers:
    """One slice, scored.

    Attributes:
        inputs: topic -> its place among those of the span.
        parts: what was scored in one call, and which of its rows count.
        failed: of those that count.
    """

    agent: Agent
    inputs: Mapping[str, int]
    parts: list[tuple[Scored, Sequence[int]]] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    def add(self, scored: Scored, span: Span, within: Callable[[datetime], bool] | None) -> None:
        """Take in what was scored, but for what was read only to move a state; `within` asks for the event's time.

        What cannot be decoded says no time, and goes by when it was logged.
        """
        if within is None and all(part.first == part.start for part in span.parts):
            self.parts.append((scored, _rows(self.agent, scored)))
            self.failed += scored.failed
            return
        starts = span.starts

        def counts(record: Record, at: datetime) -> bool:
            return record.offset >= starts[record[:2]] and (within is None or within(at))

        seen = [counts(record, event.at) for record, event in zip(scored.records, scored.events, strict=True)]
        self.parts.append((scored, [row for row in _rows(self.agent, scored) if seen[row]]))
        at = {record[:3]: count for record, count in zip(scored.records, seen, strict=True)}
        self.failed += [
            failed
            for failed in scored.failed
            if at.get(failed.record[:3], counts(failed.record, _logged(failed.record)))
        ]


def _logged(record: Record) -> datetime:
    """By the broker's clock, or by that of a producer, who may say anything."""
    return datetime.fromtimestamp(min(max(record.timestamp_ms, 0), _LAST_MS) / 1000, UTC)


def _rows(agent: Agent, scored: Scored) -> Sequence[int]:
    """The rows with an answer; all of them, as a rule."""
    problems = scored.scores.problems
    if not agent.follows and not agent.hears and not problems:
        return range(len(scored.events))
    return [row for row, event in enumerate(scored.events) if row not in problems and agent.scores(event)]


@dataclass
class Columns:
    """Answers, column by column.

    Attributes:
        input: which topic of the lane, by its place in `Span.topics`.
        at_us: event time, microseconds since 1970.
        details: JSON.
    """

    input: list[int] = field(default_factory=list)
    partition: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    user_id: list[str] = field(default_factory=list)
    event_id: list[str] = field(default_factory=list)
    subject_id: list[str] = field(default_factory=list)
    stage: list[Stage] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    at_us: list[int] = field(default_factory=list)
    zone: list[int | None] = field(default_factory=list)
    detail: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offset)

    def add(self, answers: Answers, zones: Zones | None = None) -> None:
        """Behind what is here already."""
        for scored, rows in answers.parts:
            self._extend(answers, scored, rows, zones)

    def _extend(self, answers: Answers, scored: Scored, rows: Sequence[int], zones: Zones | None) -> None:
        inputs = answers.inputs
        whole = len(rows) == len(scored.events)
        records = scored.records if whole else [scored.records[row] for row in rows]
        events = scored.events if whole else [scored.events[row] for row in rows]
        values = scored.scores.values
        self.input += [inputs[record.topic] for record in records] if len(inputs) > 1 else [0] * len(records)
        self.partition += [record.partition for record in records]
        self.offset += [record.offset for record in records]
        self.user_id += [event.user_id for event in events]
        self.event_id += [event.event_id for event in events]
        self.subject_id += [event.subject_id for event in events]
        self.stage += _stages(answers.agent, events)
        self.value += (values if whole else values[list(rows)]).tolist()
        self.at_us += [round(event.at.timestamp() * 1e6) for event in events]
        self.zone += zones(events) if zones is not None else [None] * len(events)
        details = scored.scores.details
        self.detail += [_detail(details[row]) for row in rows] if len(details) else [None] * len(events)


def _stages(agent: Agent, events: Sequence[AnyEvent]) -> list[Stage]:
    if all(issubclass(event, OPENING) for event in agent.consumes):
        return ["initial"] * len(events)
    return [agent.stage(event) for event in events]


def _detail(detail: object) -> bytes | None:
    return None if detail is None else _encode(detail)
