"""The store's write side: what the decision worker reads back and writes down, one transaction per micro-batch.

A worker that is killed has either written a micro-batch down whole or not at all; `app.sql.ledger` holds the values.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Insert,
    Row,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    false,
    select,
    true,
    tuple_,
    union,
    update,
)

from app import codec
from app.decisions import Decision
from app.errors import MillraceError
from app.events import AnyRide
from app.predictions import Prediction
from app.sql.database import Database
from app.sql.engine import engine_for, file_of
from app.sql.ledger import (
    UNDECIDED,
    Answer,
    Case,
    DecisionKey,
    Entry,
    ErrorSum,
    Made,
    Mark,
    Position,
    Subject,
    SubjectKey,
    Truth,
    WeekKey,
)
from app.sql.prepared import Prepared
from app.sql.schema import actions, cases, decisions, metadata, outcomes, predictions, weekly_errors
from app.sql.upserts import added, inserting, latest

T = TypeVar("T")

_CHUNK = 1000  # ids, or pairs of them, per IN list: far below SQLite's 32,766 and PostgreSQL's 65,535 parameters
_decisions: codec.Decoder[Decision] = codec.Decoder(Decision)
_predictions: codec.Decoder[Prediction] = codec.Decoder(Prediction)
_truths: codec.Decoder[Truth] = codec.Decoder(AnyRide)


class Unpushed(NamedTuple):
    """A decision in the outbox; `offset` is `None` until the topic `decisions` has it."""

    decision: Decision
    traceparent: str | None
    partition: int | None
    offset: int | None

    def published(self) -> Mark:
        """The mark that takes it out of the outbox. Only for one that the topic has."""
        if self.partition is None or self.offset is None:
            raise ValueError(f"{self.decision.decision_id} is not on the topic yet")
        return Mark(DecisionKey.of(self.decision), self.partition, self.offset, published=True)


class Journal(Database):
    """The store, for the one who writes it."""

    tables = metadata

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        insert = inserting(engine.dialect)
        # Made once: to make one costs more than to run it.
        self._put_case = latest(insert, cases, "revision")
        self._put_prediction = insert(predictions).on_conflict_do_nothing()
        self._put_decision = insert(decisions).on_conflict_do_nothing()
        self._put_truth = insert(outcomes).on_conflict_do_nothing()
        self._add_actions = added(insert, actions, "n")
        self._add_errors = added(insert, weekly_errors, "n", "signed", "absolute", "squared")

    def hasty(self) -> Self | None:
        """The same journal, which never waits: what another writer holds up raises `ServiceUnavailable` at once.

        `None` where the database is no file, so that every question is a journey.
        """
        url = self.engine.url
        return None if file_of(url) is None else type(self)(engine_for(url, busy_s=0.0))

    def load(self, keys: Collection[SubjectKey]) -> list[Subject]:
        """What is known of these subjects; one that was never seen comes back empty, as most do."""
        found = {key: Subject(key) for key in keys}
        with self.connected() as connection:
            for asked in chunks(sorted({key.subject_id for key in keys})):
                ids = list(connection.scalars(_KNOWN, {"ids": asked}))
                if not ids:
                    continue
                for row in connection.execute(_CASES, {"ids": ids}):
                    if subject := found.get(SubjectKey(row.user_id, row.subject_id)):
                        subject.cases.append(_case(row))
                for row in connection.execute(_ANSWERS, {"ids": ids}):
                    if subject := found.get(SubjectKey(row.user_id, row.subject_id)):
                        subject.answers.append(Answer(_predictions.decode(row.message), row.partition, row.offset))
                for row in connection.execute(_TRUTHS, {"ids": ids}):
                    if subject := found.get(SubjectKey(row.user_id, row.subject_id)):
                        subject.truth = _truths.decode(row.message)
        for subject in found.values():
            subject.cases.sort(key=lambda case: case.position.offset)
            subject.answers.sort(key=lambda answer: answer.offset)
        return list(found.values())

    def undecided(self, partitions: Collection[int]) -> list[SubjectKey]:
        """The subjects of these partitions that wait for a decision."""
        query = select(cases.c.user_id, cases.c.subject_id).distinct()
        where = and_(cases.c.partition.in_(partitions), cases.c.revision == UNDECIDED)
        with self.connected() as connection:
            return [SubjectKey(*row) for row in connection.execute(query.where(where))]

    def undelivered(self, partitions: Collection[int]) -> list[Unpushed]:
        """Decisions of these partitions that may not be on the topic `decisions`, the oldest first.

        They are few: a worker was killed while it had them in hand.
        """
        return self._unpushed(partitions, decisions.c.offset.is_(None), None)

    def unpublished(self, partitions: Collection[int], limit: int) -> list[Unpushed]:
        """Decisions of these partitions that the live channel may not have had, the oldest first, at most `limit`.

        They can be many: Redis was away.
        """
        return self._unpushed(partitions, decisions.c.offset.is_not(None), limit)

    def _unpushed(self, partitions: Collection[int], which: ColumnElement[bool], limit: int | None) -> list[Unpushed]:
        columns = (decisions.c.message, decisions.c.traceparent, decisions.c.partition, decisions.c.offset)
        query = select(*columns).where(
            decisions.c.source_partition.in_(partitions),
            decisions.c.published == false(),
            which,
        )
        with self.connected() as connection:
            rows = connection.execute(query.order_by(decisions.c.at, decisions.c.revision).limit(limit)).all()
        return [Unpushed(_decisions.decode(message), *rest) for message, *rest in rows]

    def save(self, entry: Entry, marks: Sequence[Mark] = ()) -> dict[DecisionKey, Decision]:
        """Write one micro-batch down, and how far earlier decisions have been pushed, in one transaction.

        Returns, by key, the decisions that stood here already and stand: those of a worker that was taken for dead and
        was not, or of a transaction whose end was never heard of. What stands is what must be pushed.
        """
        with self.transaction() as connection:
            execute(connection, self._put_case, map(_case_row, entry.cases.values()))
            execute(connection, self._put_prediction, map(_answer_row, entry.answers))
            fresh = self._decide(connection, entry.decisions)
            truths = {SubjectKey(truth.user_id, truth.subject_id): truth for truth in entry.truths}
            if execute(connection, self._put_truth, (_truth_row(t, entry.at) for t in truths.values())) < len(truths):
                raise MillraceError("somebody else has measured the outcome of the same subject: begin anew")
            execute(connection, self._add_errors, _error_rows(entry.errors))
            self.count(connection, fresh)
            execute(connection, _MARK, map(_mark_row, marks))
            all_fresh = sum(fresh.values()) == len(entry.decisions)
            return {} if all_fresh else standing(connection, decisions, (made.decision for made in entry.decisions))

    def count(self, connection: Connection, decided: Mapping[str, int]) -> None:
        """Add to how often each action was decided."""
        execute(connection, self._add_actions, _action_rows(decided))

    def _decide(self, connection: Connection, made: Sequence[Made]) -> dict[str, int]:
        """Write decisions down; how many of each action did not stand there already."""
        rows: dict[str, list[Values]] = defaultdict(list)
        for each in made:
            rows[each.decision.action].append(_decision_row(each))
        return {action: execute(connection, self._put_decision, of) for action, of in rows.items()}

    def aged(self, before: datetime) -> "Aged":
        """What `prune` may delete."""
        return (
            (cases, and_(cases.c.seen_at < before, cases.c.revision != UNDECIDED)),
            (predictions, predictions.c.at < before),
            (decisions, and_(decisions.c.at < before, decisions.c.published == true())),
            (outcomes, outcomes.c.at < before),
        )

    def prune(self, before: datetime, limit: int = 5000) -> int:
        """Delete at most `limit` rows per table that are older than `before`; how many went.

        What still waits for its decision or its push stays. Bounded, so that writers do not wait for it long.
        """
        gone = 0
        for table, condition in self.aged(before):
            key = tuple_(*table.primary_key.columns)
            old = select(*table.primary_key.columns).where(condition).limit(limit)
            with self.transaction() as connection:
                gone += connection.execute(delete(table).where(key.in_(old))).rowcount
        return gone


def _these(table: Table) -> ColumnElement[bool]:
    return table.c.subject_id.in_(bindparam("ids", expanding=True))


Aged = tuple[tuple[Table, ColumnElement[bool]], ...]
Values = dict[str, Any]

_MARK: Update = (
    update(decisions)
    .where(decisions.c.user_id == bindparam("of_user"), decisions.c.decision_id == bindparam("marked"))
    .values(partition=bindparam("at_partition"), offset=bindparam("at_offset"), published=bindparam("is_published"))
)


_BY_SUBJECT = (cases, predictions, outcomes)
_CASES, _ANSWERS, _TRUTHS = (select(table).where(_these(table)) for table in _BY_SUBJECT)
_KNOWN = union(*(select(table.c.subject_id).where(_these(table)) for table in _BY_SUBJECT))


def execute(connection: Connection, statement: Insert | Update, rows: Iterable[Values]) -> int:
    """Execute for all rows, which name the same columns in the same order; how many the database has taken."""
    listed = list(rows)
    if not listed:
        return 0
    ready = _ready(statement, tuple(listed[0]), connection.dialect)
    return ready(connection, [ready.row(values.values()) for values in listed])


@lru_cache(maxsize=64)
def _ready(statement: Insert | Update, names: tuple[str, ...], dialect: Dialect) -> Prepared:
    return Prepared(statement, names, dialect)


def standing(connection: Connection, table: Table, made: Iterable[Decision]) -> dict[DecisionKey, Decision]:
    """These decisions, as the table keeps them."""
    c, found = table.c, dict[DecisionKey, Decision]()
    for keys in chunks(sorted(set(map(DecisionKey.of, made)))):
        query = select(c.message).where(tuple_(c.user_id, c.decision_id).in_(keys))
        found |= {DecisionKey.of(each): each for each in map(_decisions.decode, connection.scalars(query))}
    return found


def chunks(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as one IN list takes."""
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _case(row: Row[Any]) -> Case:
    return Case(
        event_id=row.event_id,
        subject_id=row.subject_id,
        user_id=row.user_id,
        kind=row.kind,
        event_at=row.event_at,
        position=Position(row.topic, row.partition, row.offset, row.timestamp_ms),
        seen_at=row.seen_at,
        traceparent=row.traceparent,
        revision=row.revision,
    )


def _case_row(case: Case) -> Values:
    return {
        "event_id": case.event_id,
        "subject_id": case.subject_id,
        "user_id": case.user_id,
        "kind": case.kind,
        "event_at": case.event_at,
        "seen_at": case.seen_at,
        "traceparent": case.traceparent,
        "revision": case.revision,
        **case.position._asdict(),
    }


def _answer_row(answer: Answer) -> Values:
    prediction = answer.prediction
    return {
        "event_id": prediction.event_id,
        "model": prediction.model,
        "version": prediction.version,
        "subject_id": prediction.subject_id,
        "user_id": prediction.user_id,
        "stage": prediction.stage,
        "value": prediction.value,
        "at": prediction.at,
        "partition": answer.partition,
        "offset": answer.offset,
        "message": codec.encode(prediction),
    }


def _decision_row(made: Made) -> Values:
    decision = made.decision
    return {
        "decision_id": decision.decision_id,
        "event_id": decision.event_id,
        "subject_id": decision.subject_id,
        "user_id": decision.user_id,
        "revision": decision.revision,
        "action": decision.action,
        "event_at": decision.event_at,
        "at": decision.at,
        "message": codec.encode(decision),
        "source_partition": made.partition,
        "traceparent": made.traceparent,
        "published": False,
    }


def _truth_row(truth: Truth, at: datetime) -> Values:
    return {
        "user_id": truth.user_id,
        "subject_id": truth.subject_id,
        "at": at,
        "message": codec.encode(truth),
    }


def _error_rows(errors: Mapping[WeekKey, ErrorSum]) -> Iterator[Values]:
    """In one order everywhere, so that two workers cannot lock each other's rows crosswise."""
    return ({"week": key.week, **key.error._asdict(), **asdict(total)} for key, total in sorted(errors.items()))


def _action_rows(fresh: Mapping[str, int]) -> Iterator[Values]:
    """In one order everywhere, as the errors."""
    return ({"action": action, "n": n} for action, n in sorted(fresh.items()) if n)


def _mark_row(mark: Mark) -> Values:
    return {
        "of_user": mark.decision.user_id,
        "marked": mark.decision.decision_id,
        "at_partition": mark.partition,
        "at_offset": mark.offset,
        "is_published": mark.published,
    }
