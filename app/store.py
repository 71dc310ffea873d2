"""The store: cases, predictions, decisions, outcomes and live errors in SQL. SQLite embedded, PostgreSQL in service.

The gateway reads here; the decision worker writes, through the `Journal` of `app.sql.journal`.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from math import sqrt
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, cast, func, select

from app import codec
from app.costs import CHOICES
from app.decisions import Decision
from app.predictions import Prediction
from app.sql import card_reads
from app.sql.database import Database
from app.sql.ledger import Answer, ChargeTally, LiveError, SubjectKey, WeeklyError
from app.sql.schema import (
    actions,
    cases,
    charge_tallies,
    decisions,
    metadata,
    predictions,
    weekly_charges,
    weekly_errors,
)
from app.topics import DECISIONS, predictions_of

_decisions: codec.Decoder[Decision] = codec.Decoder(Decision)
_predictions: codec.Decoder[Prediction] = codec.Decoder(Prediction)
_latest = (decisions.c.event_at.desc(), decisions.c.revision.desc(), decisions.c.at.desc())


class Store(Database):
    """An open store, for the one who reads it."""

    tables = metadata

    def decision(self, subject: SubjectKey) -> Decision | None:
        """The latest decision on the subject: of the last opening event, its last revision."""
        with self.connected() as connection:
            rows = connection.execute(_of(decisions, subject).order_by(*_latest).limit(1)).all()
            on_cards = [kept.decision for kept in card_reads.of_subject(connection, subject)]
        found = [*on_cards, *(_decisions.decode(row.message) for row in rows)]
        return max(found, key=lambda made: (made.event_at, made.revision, made.at), default=None)

    def predictions(self, subject: SubjectKey) -> list[Prediction]:
        """Every prediction about the subject, corrections included, in the order they were logged."""
        with self.connected() as connection:
            return [
                each.prediction for each in _answers(connection, subject, card_reads.of_subject(connection, subject))
            ]

    def snapshot(self, user_id: str, limit: int = 50) -> list[Decision]:
        """The latest decision of each of the user's recent subjects, newest first, at most `limit`."""
        recent = (
            select(decisions).where(decisions.c.user_id == user_id).order_by(decisions.c.at.desc()).limit(8 * limit)
        ).subquery()  # bounded: a user of years has more decisions than anybody wants ranked
        rank = func.row_number().over(
            partition_by=recent.c.subject_id, order_by=(recent.c.event_at.desc(), recent.c.revision.desc())
        )
        ranked = select(recent.c.message, recent.c.at, rank.label("rank")).subquery()
        query = select(ranked.c.message).where(ranked.c.rank == 1).order_by(ranked.c.at.desc()).limit(limit)
        with self.connected() as connection:
            found = [_decisions.decode(message) for message in connection.scalars(query)]
            on_cards = card_reads.latest(connection, user_id, limit)
        return sorted([*found, *on_cards], key=lambda made: made.at, reverse=True)[:limit]

    def live_errors(self) -> list[LiveError]:
        """How wrong each model has been so far, by model, version and stage."""
        key = [weekly_errors.c[name] for name in ("model", "version", "stage", "unit")]
        added = (weekly_errors.c[name] for name in ("n", "signed", "absolute", "squared"))
        sums = [cast(func.sum(each), each.type).label(each.name) for each in added]  # PostgreSQL sums into a decimal
        query = select(*key, *sums).where(weekly_errors.c.n > 0).group_by(*key).order_by(*key)
        with self.connected() as connection:
            return [LiveError(**_means(row)) for row in connection.execute(query)]

    def weekly_errors(self) -> list[WeeklyError]:
        """The same week by week, the oldest first. Rows: models, versions and weeks there were, so some hundreds a year."""
        key = (weekly_errors.c[name] for name in ("week", "model", "version", "stage"))
        query = select(weekly_errors).where(weekly_errors.c.n > 0).order_by(*key)
        with self.connected() as connection:
            return [WeeklyError(**_means(row), week=row.week) for row in connection.execute(query)]

    def actions(self) -> dict[str, int]:
        """How often each action was decided, revisions included, those pruned since too: counted as they are made."""
        with self.connected() as connection:
            return {row.action: row.n for row in connection.execute(select(actions).order_by(actions.c.action))}

    def charge_tallies(self) -> list[ChargeTally]:
        """How card transactions were decided, and which of them were reported as frauds, from allow to block."""
        with self.connected() as connection:
            return _tallies(connection.execute(select(charge_tallies)).all())

    def weekly_charges(self) -> dict[str, list[ChargeTally]]:
        """The same by the week of the transaction's event time in UTC, the oldest first: "2026-W47".

        What was allowed and not kept is counted without its time: of "allow" only the frauds are here.
        """
        weeks = defaultdict[str, list[Row[Any]]](list)
        with self.connected() as connection:
            for row in connection.execute(select(weekly_charges).order_by(weekly_charges.c.week)):
                weeks[row.week].append(row)
        return {week: _tallies(rows) for week, rows in weeks.items()}

    def receipt(self, subject: SubjectKey) -> dict[str, object] | None:
        """Where everything about the subject lies in the log, and when each hop happened.

        `{"subject_id", "user_id", "kind", "openings": [...], "predictions": [...], "decisions": [...]}`; times are
        aware datetimes, positions `{"topic", "partition", "offset"}`. `None` for an unknown subject.
        """
        with self.connected() as connection:
            opened = connection.execute(_of(cases, subject).order_by(cases.c.offset)).all()
            decided = connection.execute(_of(decisions, subject).order_by(*reversed(_latest))).all()
            on_cards = card_reads.of_subject(connection, subject)
            answers = _answers(connection, subject, on_cards)
        if not (opened or on_cards):
            return None
        return {
            "subject_id": subject.subject_id,
            "user_id": subject.user_id,
            "kind": opened[0].kind if opened else on_cards[0].decision.kind,
            "openings": [*map(_opening, opened), *(_opening(kept.opening) for kept in on_cards)],
            "predictions": [_answer(answer) for answer in answers],
            "decisions": [*map(_decided, decided), *(_decided(kept.decided) for kept in on_cards)],
        }


def _tallies(rows: Sequence[Row[Any]]) -> list[ChargeTally]:
    """From allow to block."""
    by = {row.action: ChargeTally(row.action, row.decided, row.reported, row.reported_usd) for row in rows}
    return [by[action] for action in CHOICES if action in by]


def _of(table: Table, subject: SubjectKey) -> Select[Any]:
    return select(table).where(table.c.subject_id == subject.subject_id, table.c.user_id == subject.user_id)


def _answers(connection: Connection, subject: SubjectKey, on_cards: Sequence[card_reads.Kept]) -> list[Answer]:
    """Every prediction about the subject, those that are kept with a card decision among them."""
    rows = connection.execute(_of(predictions, subject).order_by(predictions.c.offset)).all()
    found = (Answer(_predictions.decode(row.message), row.partition, row.offset) for row in rows)
    return [*found, *(kept.answer for kept in on_cards)]


def _position(topic: str, partition: int, offset: int) -> dict[str, object]:
    return {"topic": topic, "partition": partition, "offset": offset}


def _opening(row: Row[Any] | card_reads.Opening) -> dict[str, object]:
    return {
        "event_id": row.event_id,
        "position": _position(row.topic, row.partition, row.offset),
        "event_at": row.event_at,
        "logged_at": datetime.fromtimestamp(row.timestamp_ms / 1000, UTC),
        "seen_at": row.seen_at,
    }


def _answer(answer: Answer) -> dict[str, object]:
    prediction = answer.prediction
    return {
        "event_id": prediction.event_id,
        "model": prediction.model,
        "version": prediction.version,
        "arm": prediction.arm,
        "via": prediction.via,
        "stage": prediction.stage,
        "value": prediction.value,
        "unit": prediction.unit,
        "scored": _position(prediction.topic, prediction.partition, prediction.offset),
        "position": _position(predictions_of(prediction.kind).name, answer.partition, answer.offset),
        "latency_ms": prediction.latency_ms,
        "at": prediction.at,
    }


def _decided(row: Row[Any] | card_reads.Decided) -> dict[str, object]:
    return {
        "decision_id": row.decision_id,
        "revision": row.revision,
        "action": row.action,
        "at": row.at,
        "position": None if row.offset is None else _position(DECISIONS.name, row.partition, row.offset),
        "published": row.published,
    }


def _means(row: Row[Any]) -> dict[str, Any]:
    """The sums as means, a `LiveError`'s fields; rounding must not make a mean of squares negative."""
    mean_square = max(row.squared, 0.0) / row.n
    return {
        "model": row.model,
        "version": row.version,
        "stage": row.stage,
        "unit": row.unit,
        "n": row.n,
        "mae": row.absolute / row.n,
        "rmse": sqrt(mean_square),
        "bias": row.signed / row.n,
        "brier": mean_square if row.unit == "probability" else None,
    }
