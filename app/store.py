"""The store: cases, predictions, decisions, outcomes and live errors in SQL. SQLite embedded, PostgreSQL in service.

The gateway reads here; the decision worker writes, through the `Journal` of `app.sql.journal`. Everything is synchronous: call it through
`asyncio.to_thread`. Every method raises `ServiceUnavailable("database")` when the database does not answer.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from typing import Any, Self

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.schema import CreateColumn

from app import codec
from app.costs import CHOICES
from app.decisions import Decision
from app.errors import ConfigurationError, ServiceUnavailable
from app.predictions import Prediction
from app.sql import card_reads
from app.sql.ledger import Answer, ChargeTally, LiveError, SubjectKey, WeeklyError
from app.sql.schema import (
    actions,
    cases,
    charge_tallies,
    decisions,
    live_errors,
    metadata,
    predictions,
    weekly_charges,
    weekly_errors,
)
from app.topics import DECISIONS, predictions_of

_BUSY_S = 10.0  # transactions here take milliseconds
_decisions: codec.Decoder[Decision] = codec.Decoder(Decision)
_predictions: codec.Decoder[Prediction] = codec.Decoder(Prediction)
_latest = (decisions.c.event_at.desc(), decisions.c.revision.desc(), decisions.c.at.desc())


class Store:
    """An open database. One per process; its methods may be called from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect and create what is missing; several processes may do so at the same time.

        Raises `ConfigurationError` for a url nobody understands, and for tables that are not ours as they are now.
        """
        store = cls(engine_for(url))
        store._create()
        store._compare()
        return store

    def close(self) -> None:
        self._engine.dispose()

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
        query = select(live_errors).where(live_errors.c.n > 0)
        with self.connected() as connection:
            rows = connection.execute(query.order_by(live_errors.c.model, live_errors.c.version, live_errors.c.stage))
            return [LiveError(**_means(row)) for row in rows]

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

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection for reading."""
        with answering(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is kept whole or not at all."""
        with answering(), self._engine.begin() as connection:
            yield connection

    def _create(self) -> None:
        """What two processes create at the same time can collide; whoever lost finds it there on the next try."""
        for attempt in range(5):
            try:
                metadata.create_all(self._engine)
                self._upgrade()
                return
            except (DBAPIError, ServiceUnavailable) as error:
                if attempt == 4:
                    problem = error.orig if isinstance(error, DBAPIError) else error
                    raise ServiceUnavailable("database", str(problem)) from error

    def _upgrade(self) -> None:
        """Add to each table of ours what an earlier version did not have, where a default says what it was."""
        with self.connected() as connection:
            found = inspect(connection)
            tables = [
                (table, {each["name"] for each in found.get_columns(table.name)}) for table in metadata.sorted_tables
            ]
        for table, names in tables:
            lacking = [column for column in table.columns.values() if column.name not in names]
            if all(column.server_default is not None for column in lacking):
                for column in lacking:
                    described = CreateColumn(column).compile(self._engine)
                    with self.transaction() as connection:
                        connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {described}"))

    def _compare(self) -> None:
        """Tables of another version would refuse every write, one batch after the other: better not to start."""
        with self.connected() as connection:
            found = inspect(connection)
            for table in metadata.sorted_tables:
                columns = {column["name"] for column in found.get_columns(table.name)}
                key = set(found.get_pk_constraint(table.name)["constrained_columns"])
                if columns != set(table.columns.keys()) or key != set(table.primary_key.columns.keys()):
                    raise ConfigurationError(
                        f"MILLRACE_DATABASE: the table {table.name} was made by another version of Millrace; "
                        "name an empty database, or delete this one"
                    )


@contextmanager
def answering() -> Iterator[None]:
    """A database that does not answer is our `ServiceUnavailable`."""
    try:
        yield
    except DBAPIError as error:
        raise ServiceUnavailable("database", str(error.orig)) from error


def engine_for(url: str | URL, setting: str = "MILLRACE_DATABASE", busy_s: float = _BUSY_S) -> Engine:
    """An engine for the database that `setting` names; connects to nothing yet. On SQLite, a writer waits `busy_s` for another.

    Raises `ConfigurationError` for a url nobody understands.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True, pool_size=2, max_overflow=8, pool_timeout=_BUSY_S)
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": busy_s})
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(f"{setting}: {error}") from error
    event.listen(engine, "connect", _tune_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: object) -> None:
    """Readers do not wait for the writer (WAL), and a commit survives kill -9; only a power cut may take the last ones."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


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
