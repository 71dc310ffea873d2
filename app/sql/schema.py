"""The tables of the store: SQLite embedded, PostgreSQL in service. `app.store` reads and writes them.

Each message is kept whole (`message`, its JSON, so that it comes back bit for bit) beside the columns that are searched.
Ids are the clients' to choose, so they are unique per user only: every key begins with the user.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    false,
)

from app.sql.ledger import UNDECIDED

metadata = MetaData()


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC: SQLite has no zone of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


cases = Table(
    "cases",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("event_id", String(64), primary_key=True),
    Column("subject_id", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("event_at", Instant, nullable=False),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("seen_at", Instant, nullable=False, index=True),
    Column("traceparent", String(64)),
    Column("revision", Integer, nullable=False),
)
Index(
    "ix_cases_undecided",
    cases.c.partition,
    sqlite_where=cases.c.revision == UNDECIDED,
    postgresql_where=cases.c.revision == UNDECIDED,
)

predictions = Table(
    "predictions",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("event_id", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("subject_id", String(64), nullable=False, index=True),
    Column("stage", String(16), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("at", Instant, nullable=False, index=True),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("decision_id", String(80), primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column("subject_id", String(64), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("action", String(16), nullable=False),
    Column("event_at", Instant, nullable=False),
    Column("at", Instant, nullable=False, index=True),
    Column("message", LargeBinary, nullable=False),
    Column("source_partition", Integer, nullable=False),  # of the opening event: whose worker must push it
    Column("traceparent", String(64)),
    Column("partition", Integer),  # on the topic `decisions`, once delivered
    Column("offset", BigInteger),
    Column("published", Boolean, nullable=False, server_default=false()),
)
Index("ix_decisions_user", decisions.c.user_id, decisions.c.at)
Index(
    "ix_decisions_unpushed",
    decisions.c.source_partition,
    sqlite_where=decisions.c.published == false(),
    postgresql_where=decisions.c.published == false(),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("subject_id", String(64), primary_key=True),
    Column("at", Instant, nullable=False, index=True),
    Column("message", LargeBinary, nullable=False),
)
Index("ix_outcomes_subject", outcomes.c.subject_id)

actions = Table(
    "actions",
    metadata,
    Column("action", String(16), primary_key=True),
    Column("n", BigInteger, nullable=False),
)

# A transaction that is kept: opening event, prediction and decision in one row (docs/decisions/0010).
card_decisions = Table(
    "card_decisions",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("decision_id", String(80), primary_key=True),
    Column("subject_id", String(64), nullable=False, index=True),
    Column("seen_ms", BigInteger, nullable=False, index=True),
    Column("partition", Integer, nullable=False),  # of its prediction's record, and of the decision on `decisions`
    Column("offset", BigInteger, nullable=False),  # of its prediction's record
    Column("traceparent", String(64)),
    Column("prediction", LargeBinary, nullable=False),
    Column("message", LargeBinary, nullable=False),  # the decision
    Column("decided_offset", BigInteger),  # of the decision, once delivered
    Column("published", Boolean),  # null until it is pushed: until then its prediction is delivered again after a kill
)
Index(
    "ix_card_decisions_unpublished",
    card_decisions.c.partition,
    sqlite_where=card_decisions.c.published == false(),
    postgresql_where=card_decisions.c.published == false(),
)

charges = Table(  # transactions that were held, and those that were reported as frauds
    "charges",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("subject_id", String(64), primary_key=True),
    Column("action", String(16), nullable=False),  # "allow" for one that was reported and is not known to be held
    Column("amount_usd", Float(53), nullable=False),
    Column("reported", Boolean, nullable=False),
    Column("at", Instant, nullable=False, index=True),
)

charge_tallies = Table(
    "charge_tallies",
    metadata,
    Column("action", String(16), primary_key=True),
    Column("decided", BigInteger, nullable=False),
    Column("reported", BigInteger, nullable=False),
    Column("reported_usd", Float(53), nullable=False),
)

weekly_charges = Table(  # the same by the week of the transaction; of what was allowed, only the frauds
    "weekly_charges",
    metadata,
    Column("week", String(8), primary_key=True),
    Column("action", String(16), primary_key=True),
    Column("decided", BigInteger, nullable=False),
    Column("reported", BigInteger, nullable=False),
    Column("reported_usd", Float(53), nullable=False),
)

charge_counts = Table(  # the offset up to which a partition's allowed transactions are in the tallies
    "charge_counts",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, nullable=False),
)


weekly_errors = Table(
    "weekly_errors",
    metadata,
    Column("week", String(8), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("stage", String(16), primary_key=True),
    Column("unit", String(16), nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("signed", Float(53), nullable=False),
    Column("absolute", Float(53), nullable=False),
    Column("squared", Float(53), nullable=False),
)
