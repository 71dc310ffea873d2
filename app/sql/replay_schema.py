"""The tables of replays and what-if reports. `app.sql.replays` reads them, `app.modes.replay` writes them.

Nothing of these meets the live tables of `app.sql.schema`: a replayed prediction can never be taken for one that was served.
`replayed` is kept by lane, which says of which run, model and version a row is, in the order in which the rows came: an
append, where a key of ids would be a million random look-ups.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
)

from app.sql.schema import Instant

metadata = MetaData()

runs = Table(
    "replay_runs",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("plan", LargeBinary, nullable=False),  # `app.modes.replay.plan.Plan`, JSON
    Column("began_at", Instant, nullable=False),
    Column("finished_at", Instant),
)

lanes = Table(
    "replay_lanes",
    metadata,
    Column("lane", Integer, primary_key=True),
    Column("run", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("model", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("span", LargeBinary, nullable=False),  # `app.modes.replay.plan.Span`, JSON
    Column("size", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),  # of `size`; what lies before it is done, whole
    Column("state", LargeBinary),  # of a stateful agent, at `position`
    Column("predicted", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False, server_default=false()),
    Column("owner", String(200)),
    Column("lease_until", Instant),
    Column("takes", Integer, nullable=False),
)
Index("ix_replay_lanes_run", lanes.c.run, lanes.c.number, unique=True)

replayed = Table(
    "replayed",
    metadata,
    Column("lane", Integer, primary_key=True),
    Column("input", Integer, primary_key=True),  # which topic of the lane, by its place in `Span.topics`
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),  # of a file or a query: the row
    Column("user_id", String(64), nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("subject_id", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("at_us", BigInteger, nullable=False),  # event time, microseconds since 1970
    Column("zone", Integer),  # where a ride begins, where the run asked for it
    Column("detail", LargeBinary),  # JSON
    sqlite_with_rowid=False,
)

failures = Table(
    "replay_failures",
    metadata,
    Column("lane", Integer, primary_key=True),
    Column("input", Integer, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("cause", String(32), nullable=False),
    Column("error", Text, nullable=False),
    sqlite_with_rowid=False,
)

whatif = Table(
    "whatif",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("first_at", Instant),  # event time of the first and the last prediction
    Column("last_at", Instant),
    Column("predicted", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("answered", BigInteger, nullable=False),  # of these, the model's live answer is known too
    Column("decided", BigInteger, nullable=False),  # opening events whose decision is known
    Column("flipped", BigInteger, nullable=False),  # decided otherwise with this version's figure
    Column("drifted", BigInteger, nullable=False),  # decided otherwise by today's policy even with the figures of then
)

whatif_actions = Table(
    "whatif_actions",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("was", String(16), primary_key=True),
    Column("would_be", String(16), primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("mean", Float(53), nullable=False),  # of the replayed values
    Column("least", Float(53), nullable=False),
    Column("most", Float(53), nullable=False),
)

whatif_errors = Table(
    "whatif_errors",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("stage", String(16), primary_key=True),
    Column("slice", String(16), primary_key=True),  # "all", "zone", "hour", "week"
    Column("key", String(32), primary_key=True),
    Column("loss", String(16), nullable=False),  # "absolute"; of a probability "squared": the Brier score
    Column("n", BigInteger, nullable=False),
    Column("now", Float(53), nullable=False),  # mean loss of the replayed values
    Column("rmse", Float(53), nullable=False),
    Column("pairs", BigInteger, nullable=False),  # of these the live answer is known: the rest of the row is about them
    Column("then", Float(53)),
    Column("change", Float(53)),  # mean loss now minus then; negative is better
    Column("low", Float(53)),  # its 95 % confidence interval
    Column("high", Float(53)),
)

whatif_flips = Table(
    "whatif_flips",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("user_id", String(64), primary_key=True),
    Column("event_id", String(64), primary_key=True),
    Column("subject_id", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("was", String(16), nullable=False),
    Column("would_be", String(16), nullable=False),
    Column("value_then", Float(53)),
    Column("value_now", Float(53), nullable=False),
)
