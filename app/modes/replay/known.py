"""What is known of the events a run has answered: what was said, decided and true then. Asked by `app.modes.replay.reports`.

In the store, for rides and uploads; for card transactions, which the store does not keep all of, on the topic of their decisions.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import BindParameter, Column, Float, MetaData, String, Table, bindparam, create_engine, select
from sqlalchemy.dialects import sqlite

from app.codec import Decoder
from app.decisions import Decision, DecisionBatch, Figure
from app.events import AnyRide
from app.modes.consuming.read import reader
from app.sql.ledger import EventKey, SubjectKey, Truth
from app.sql.schema import decisions, outcomes, predictions
from app.sql.whatif import Replayed, Then
from app.store import Store
from app.topics import CARD_DECISIONS

Known = Callable[[Sequence[Replayed]], Callable[[Replayed], Then]]
"""Of some rows, asked together, what is known of each."""

Truths = Callable[[Truth], Mapping[str, float]]
"""What each model should have said, by model name."""

_decisions: Decoder[Decision] = Decoder(Decision)
_batches: Decoder[DecisionBatch] = Decoder(DecisionBatch)
_truths: Decoder[Truth] = Decoder(AnyRide)


def in_store(store: Store, model: str, truths: Truths) -> Known:
    """What the store knows; what it has pruned since (MILLRACE_STORE_RETENTION) is not there to be compared with."""
    return lambda rows: _then(store, model, rows, truths)


def _then(store: Store, model: str, rows: Sequence[Replayed], truths: Truths) -> Callable[[Replayed], Then]:
    """What the store knows of these rows' subjects."""
    subjects = sorted({row.subject_id for row in rows})
    decided: dict[EventKey, Decision] = {}
    said: dict[EventKey, float] = {}
    right: dict[SubjectKey, float] = {}
    with store.connected() as connection:
        for message in connection.scalars(_DECISIONS, {"subjects": subjects}):
            decision = _decisions.decode(message)
            key = EventKey(decision.user_id, decision.event_id)
            if key not in decided or decided[key].revision < decision.revision:
                decided[key] = decision
        for row in connection.execute(_SAID, {"subjects": subjects, "model": model}):
            said.setdefault(EventKey(row.user_id, row.event_id), row.value)  # the first is what was served
        for user_id, subject_id, message in connection.execute(_OUTCOMES, {"subjects": subjects}):
            value = truths(_truths.decode(message)).get(model)
            if value is not None:
                right[SubjectKey(user_id, subject_id)] = value

    def then(row: Replayed) -> Then:
        event = EventKey(row.user_id, row.event_id)
        return Then(said.get(event), decided.get(event), right.get(SubjectKey(row.user_id, row.subject_id)))

    return then


_SUBJECTS: BindParameter[Any] = bindparam("subjects", expanding=True)
_DECISIONS = select(decisions.c.message).where(decisions.c.subject_id.in_(_SUBJECTS))
_SAID = (
    select(predictions.c.user_id, predictions.c.event_id, predictions.c.value)
    .where(predictions.c.subject_id.in_(_SUBJECTS), predictions.c.model == bindparam("model"))
    .order_by(predictions.c.at)
)
_OUTCOMES = select(outcomes.c.user_id, outcomes.c.subject_id, outcomes.c.message).where(
    outcomes.c.subject_id.in_(_SUBJECTS)
)


_decided = Table(
    "decided",
    MetaData(),
    Column("event_id", String, primary_key=True),
    Column("user_id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("version", String, nullable=False),
    Column("unit", String, nullable=False),
    Column("value", Float, nullable=False),
    Column("action", String, nullable=False),
    sqlite_with_rowid=False,
)
_EVENTS: BindParameter[Any] = bindparam("events", expanding=True)
_OF_EVENTS = select(_decided).where(_decided.c.event_id.in_(_EVENTS))


class OnCards:
    """What was decided on card transactions, in a file of its own while it is asked: there may be a hundred million.

    A decision rests on the amount too, which each answer's detail tells; of one whose detail does not, nothing is known. Nor is
    the truth of any: what was reported are frauds alone.
    """

    def __init__(self, directory: Path) -> None:
        self._engine = create_engine(f"sqlite:///{directory / 'decided.db'}")
        _decided.metadata.create_all(self._engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    async def read(self, brokers: str, partitions: int) -> None:
        """Take in all the topic has; of an event that was decided twice, the first. Raises `ServiceUnavailable`."""
        entered = sqlite.insert(_decided).on_conflict_do_nothing()
        for partition in range(partitions):
            async with reader(brokers, CARD_DECISIONS.name, partition) as source:
                async for records in source.records(*await source.bounds()):
                    messages, _ = _batches.decode_batch(records)
                    rows = [row for message in messages if message is not None for row in _rows(message)]
                    if rows:
                        with self._engine.begin() as connection:
                            connection.execute(entered, rows)

    def __call__(self, rows: Sequence[Replayed]) -> Callable[[Replayed], Then]:
        """`Known`."""
        with self._engine.connect() as connection:
            found = connection.execute(_OF_EVENTS, {"events": sorted({row.event_id for row in rows})}).all()
        decided = {EventKey(each.user_id, each.event_id): each for each in found}

        def then(row: Replayed) -> Then:
            each = decided.get(EventKey(row.user_id, row.event_id))
            if each is None or "amount_usd" not in (row.detail or {}):
                return Then()
            figure = Figure(model=each.model, version=each.version, value=each.value, unit=each.unit, detail=row.detail)
            at = datetime.fromtimestamp(row.at_us / 1e6, UTC)
            decision = Decision(
                decision_id=f"{row.event_id}.0",
                subject_id=row.subject_id,
                user_id=row.user_id,
                kind="transaction",
                event_id=row.event_id,
                event_at=at,
                at=at,
                action=each.action,
                reasons=(),
                predictions=(figure,),
            )
            return Then(each.value, decision)

        return then


def _rows(batch: DecisionBatch) -> list[dict[str, Any]]:
    shared = {"model": batch.model, "version": batch.version, "unit": batch.unit}
    columns = zip(batch.event_id, batch.user_id, batch.value, batch.action, strict=True)
    return [
        {**shared, "event_id": event_id, "user_id": user_id, "value": value, "action": action}
        for event_id, user_id, value, action in columns
    ]
