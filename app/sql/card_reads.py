"""What the store keeps of card transactions, read back: one row holds what a ride has in three tables (docs/decisions/0010).

Below `app.store`; `app.sql.card_journal` writes it.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from app.codec import Decoder
from app.decisions import Decision
from app.predictions import Prediction
from app.sql.ledger import Answer, SubjectKey
from app.sql.schema import card_decisions

_decisions: Decoder[Decision] = Decoder(Decision)
_predictions: Decoder[Prediction] = Decoder(Prediction)

_AT_ONCE = 2
"""Rows read for each decision that is asked for: a transaction has more than one only if its client sent it under two event ids."""


class Opening(NamedTuple):
    """The event that asked for a decision, by the names of the columns of `cases`."""

    event_id: str
    topic: str
    partition: int
    offset: int
    event_at: datetime
    timestamp_ms: int
    seen_at: datetime


class Decided(NamedTuple):
    """A decision and where it lies, by the names of the columns of `decisions`."""

    decision_id: str
    revision: int
    action: str
    at: datetime
    partition: int
    offset: int | None
    published: bool


class Kept(NamedTuple):
    """A row, decoded; `answer` says where the record lies that the prediction came in."""

    answer: Answer
    decision: Decision
    seen_ms: int
    decided_offset: int | None
    published: bool

    @property
    def opening(self) -> Opening:
        said = self.answer.prediction
        return Opening(
            event_id=said.event_id,
            topic=said.topic,
            partition=said.partition,
            offset=said.offset,
            event_at=said.event_at,
            timestamp_ms=round(said.at.timestamp() * 1000 - said.latency_ms),
            seen_at=datetime.fromtimestamp(self.seen_ms / 1000, UTC),
        )

    @property
    def decided(self) -> Decided:
        made, partition = self.decision, self.answer.partition
        where = (partition, self.decided_offset)
        return Decided(made.decision_id, made.revision, made.action, made.at, *where, self.published)


def of_subject(connection: Connection, subject: SubjectKey) -> list[Kept]:
    """Everything kept of one transaction, the oldest first."""
    c = card_decisions.c
    query = select(card_decisions).where(c.subject_id == subject.subject_id, c.user_id == subject.user_id)
    rows = connection.execute(query.order_by(c.offset)).all()
    return [
        Kept(
            answer=Answer(_predictions.decode(row.prediction), row.partition, row.offset),
            decision=_decisions.decode(row.message),
            seen_ms=row.seen_ms,
            decided_offset=row.decided_offset,
            published=bool(row.published),
        )
        for row in rows
    ]


def latest(connection: Connection, user_id: str, limit: int) -> list[Decision]:
    """The latest decision on each of the user's recent transactions, at most `limit`."""
    c = card_decisions.c
    query = select(c.message).where(c.user_id == user_id).order_by(c.seen_ms.desc()).limit(_AT_ONCE * limit)
    made = [_decisions.decode(message) for message in connection.scalars(query)]
    by_subject = {each.subject_id: each for each in sorted(made, key=lambda each: (each.event_at, each.at))}
    return sorted(by_subject.values(), key=lambda each: each.at, reverse=True)[:limit]
