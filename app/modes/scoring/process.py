"""One micro-batch from records to predictions and failures, without Faust and without a broker.

`app.modes.stream` runs it on what arrives; replay and request-reply run the same on what they read.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple, cast, get_args

import numpy as np
from prometheus_client import Counter

from app.agent import Agent, Scores
from app.bus import Outgoing
from app.clock import utc_now
from app.codec import SOURCE, Decoder, Record, context, encode_all, header
from app.events import AnyEvent, Kind
from app.modes.scoring.dead_letters import PREDICTION_TOO_LARGE, SCORING_FAILED, cause_of, dead_letter
from app.modes.scoring.scorer import Memory, Scorer
from app.modes.scoring.tables import IN_COLUMNS, Said, Table, fitting, latencies_ms, table_of, tables
from app.predictions import Prediction, Via
from app.telemetry import RECORDS, child_of
from app.topics import MAX_PREDICTION_BYTES, predictions_of

_FRAME_BYTES = 4096  # what Kafka and the headers add to a prediction is a tenth of this


class Failed(NamedTuple):
    """A record without a prediction, and why: a short code and a sentence."""

    record: Record
    cause: str
    error: str


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: every record is predicted, failed, or none of the agent's business.

    Attributes:
        predicted: in the order of the records.
        tables: instead, where predictions go out in columns.
    """

    at: datetime
    predicted: Sequence[tuple[Record, Prediction]]
    failed: Sequence[Failed]
    tables: Sequence[Table] = ()


class Seen(NamedTuple):
    """A batch read: the records the agent sees, in order, with their events; and what could not be decoded."""

    records: Sequence[Record]
    events: Sequence[AnyEvent]
    failed: Sequence[Failed]


@dataclass(frozen=True)
class Scored:
    """A batch read and scored, before anything is worded: what replay writes down in columns.

    Attributes:
        records, events: n of them, those the agent sees, in the order of the records.
        scores: of these n.
        failed: what could not be decoded, then what could not be scored.
    """

    records: Sequence[Record]
    events: Sequence[AnyEvent]
    scores: Scores
    failed: Sequence[Failed]


class Processor:
    """Decodes, scores and words what one agent says of one topic's records.

    Args:
        version: of the model.
        arm: of a rollout.
        via: how the predictions come about.
        clock: the wall clock; it only measures latency.
        sees: which events reach the model; the agent's own word by default.
    """

    def __init__(
        self,
        agent: Agent,
        version: str,
        decoder: Decoder[AnyEvent],
        scorer: Scorer,
        *,
        arm: str = "live",
        via: Via = "stream",
        clock: Callable[[], datetime] = utc_now,
        sees: Callable[[AnyEvent], bool] | None = None,
    ) -> None:
        self._agent, self._version, self._arm, self._via, self._clock = agent, version, arm, via, clock
        self._decoder, self._scorer, self._sees = decoder, scorer, sees

    async def process(self, records: Sequence[Record], memory: Memory) -> Outcome:
        """Decode and score these records, in order, and word the predictions, as their topic wants them; see `score`.

        All records are of one partition, and so of one kind of subject.
        """
        scored = await self.score(records, memory)
        return self.tabulate(scored) if scored.events and scored.events[0].kind in IN_COLUMNS else self.word(scored)

    async def score(self, records: Sequence[Record], memory: Memory) -> Scored:
        """Decode and score these records, in order; what cannot be decoded or scored fails alone."""
        return await self.answer(self.read(records), memory)

    def read(self, records: Sequence[Record]) -> Seen:
        """Decode these records, in order. May be done ahead of `answer`, in another thread."""
        messages, undecoded = self._decoder.decode_batch(records)
        failed = [Failed(failure.record, cause_of(failure.error), str(failure.error)) for failure in undecoded]
        if self._sees is None and not failed:
            events = cast("list[AnyEvent]", messages)  # every one is there
            if all(self._agent.sees(event) for _, event in _one_of_each(events)):
                return Seen(records, events, failed)
        sees = self._sees or self._agent.sees
        rows = [row for row, message in enumerate(messages) if message is not None and sees(message)]
        events = [message for row in rows if (message := messages[row]) is not None]
        return Seen([records[row] for row in rows], events, failed)

    async def answer(self, seen: Seen, memory: Memory) -> Scored:
        """Score what was read; what cannot be scored fails alone."""
        records, events, failed = seen
        if not events:
            return Scored([], [], Scores(np.empty(0)), failed)
        scores = await self._scorer.score(events, memory)
        problems = [Failed(records[row], SCORING_FAILED, problem) for row, problem in sorted(scores.problems.items())]
        return Scored(records, events, scores, [*failed, *problems])

    def word(self, scored: Scored) -> Outcome:
        """What was scored just now, as messages."""
        at = self._clock()
        return Outcome(at, self._predictions(scored.records, scored.events, scored.scores, at), scored.failed)

    def tabulate(self, scored: Scored) -> Outcome:
        """What was scored just now, in columns."""
        said = Said(self._agent, self._version, self._arm, self._via, self._clock())
        return Outcome(said.at, [], scored.failed, list(tables(said, scored.records, scored.events, scored.scores)))

    def _predictions(
        self, records: Sequence[Record], events: Sequence[AnyEvent], scores: Scores, at: datetime
    ) -> list[tuple[Record, Prediction]]:
        agent, details = self._agent, scores.details or [None] * len(events)
        entered = scores.entered or [None] * len(events)
        stages = {kind: agent.stage(event) for kind, event in _one_of_each(events) if agent.scores(event)}
        name, version, unit, arm, via, problems = (
            agent.name,
            self._version,
            agent.unit,
            self._arm,
            self._via,
            scores.problems,
        )
        return [
            (
                record,
                Prediction(
                    event_id=event.event_id,
                    subject_id=event.subject_id,
                    user_id=event.user_id,
                    kind=event.kind,
                    model=name,
                    version=version,
                    value=value,
                    unit=unit,
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    event_at=event.at,
                    at=at,
                    latency_ms=latency_ms,
                    stage=stages[type(event)],
                    arm=arm,
                    via=via,
                    detail=detail,
                    entered=place,
                ),
            )
            for row, (record, event, value, latency_ms, detail, place) in enumerate(
                zip(records, events, scores.values.tolist(), latencies_ms(records, at), details, entered, strict=True)
            )
            if type(event) in stages and row not in problems
        ]


def _one_of_each(events: Sequence[AnyEvent]) -> Iterable[tuple[type[AnyEvent], AnyEvent]]:
    """An event of each type there is: what depends on the type alone is asked once."""
    return {type(event): event for event in events}.items()


def outgoing(agent: str, outcome: Outcome) -> list[Outgoing]:
    """The records to deliver: predictions on the partition of what they answer, so that a join finds both; dead letters."""
    single = [(record, said) for record, said in outcome.predicted if said.kind not in IN_COLUMNS]
    ones = [table_of(record, said) for record, said in outcome.predicted if said.kind in IN_COLUMNS]
    failed, out = list(outcome.failed), list[Outgoing]()
    predicted = _singly(single, outcome.at, failed, out) + _in_tables([*outcome.tables, *ones], failed, out)
    _count(agent, "predicted").inc(predicted)
    _count(agent, "failed").inc(len(failed))
    out += [dead_letter(each.record, agent, each.cause, each.error, outcome.at) for each in failed]
    return out


def _singly(
    predicted: Sequence[tuple[Record, Prediction]], at: datetime, failed: list[Failed], out: list[Outgoing]
) -> int:
    """A record for each; how many there are."""
    headers = _Headers(at)
    for (record, said), value in zip(predicted, encode_all([said for _, said in predicted]), strict=True):
        key = record.key
        if (size := len(value) + len(key or b"") + _FRAME_BYTES) > MAX_PREDICTION_BYTES:
            failed.append(_too_large(record, size))
        else:
            out.append(_new(Outgoing, (_TOPICS[said.kind], key, value, headers.of(record, said), record.partition)))
    return len(out)


def _in_tables(whole: Sequence[Table], failed: list[Failed], out: list[Outgoing]) -> int:
    """A record for each table, or several where it is too large for one; how many predictions there are in all."""
    rows = 0
    for table, value in (part for each in whole for part in fitting(each, MAX_PREDICTION_BYTES - _FRAME_BYTES)):
        if (size := len(value) + _FRAME_BYTES) > MAX_PREDICTION_BYTES:
            failed.append(_too_large(table.records[0], size))
        else:
            topic, headers = _TOPICS[table.batch.kind], context(table.batch)
            out.append(Outgoing(topic, None, value, headers, table.partition))
            rows += len(table.records)
    return rows


def _too_large(record: Record, size: int) -> Failed:
    error = f"its prediction would take {size} bytes, and the topic takes {MAX_PREDICTION_BYTES}"
    return Failed(record, PREDICTION_TOO_LARGE, error)


_new = tuple.__new__  # what `Outgoing(...)` does, without a call in Python for each
_TOPICS = {kind: predictions_of(kind).name for kind in get_args(Kind)}


@cache
def _count(agent: str, ended: str) -> Counter:
    return RECORDS.labels(agent, ended)


class _Headers:
    """`codec.context` for the predictions of one batch: what they share is worded once."""

    def __init__(self, at: datetime) -> None:
        self._time = ("ce_time", at.astimezone(UTC).isoformat().encode())
        self._type = ("ce_type", str(Prediction.__struct_config__.tag).encode())
        self._shared: dict[tuple[str, str], tuple[str, list[tuple[str, bytes]]]] = {}

    def of(self, record: Record, prediction: Prediction) -> list[tuple[str, bytes]]:
        said_by = prediction.model, prediction.version
        ending, shared = self._shared.get(said_by) or self._share(*said_by)
        headers = [("ce_id", (prediction.event_id + ending).encode()), *shared]
        if record.headers and (trace := child_of(header(record.headers, "traceparent"))):
            headers.append(("traceparent", trace.encode()))
        return headers

    def _share(self, model: str, version: str) -> tuple[str, list[tuple[str, bytes]]]:
        source = ("ce_source", f"{SOURCE}/agents/{model}".encode())
        shared = [
            ("ce_specversion", b"1.0"),
            self._type,
            source,
            self._time,
            ("content-type", b"application/json"),
        ]
        self._shared[model, version] = found = (f".{model}.{version}", shared)
        return found
