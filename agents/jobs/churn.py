"""`churn`: each morning, who of the customers is about to leave, why, what that costs, and what to offer whom.

Leaving is to buy nothing in the next 90 days. `training/recipes/churn.py` makes the model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text, and_, bindparam, select

from agents.jobs._history import COLUMNS, purchase_features
from agents.jobs._offers import choose
from agents.jobs._reasons import reasons
from app.jobs.customers import customers, purchases
from app.jobs.job import Floats, History, Scored, explained_booster, job
from app.sql.bulk import Row
from app.sql.run_schema import scores_table
from app.sql.schema import Instant

HORIZON_DAYS = 90

SCORES = scores_table(
    "churn_scores",
    Column("last_purchase_at", Instant, nullable=False),
    Column("purchase_days", Integer, nullable=False),
    Column("spend_usd", Float(53), nullable=False),
    Column("worth_usd", Float(53), nullable=False),  # what they are expected to spend in 90 days if they stay
    Column("at_risk_usd", Float(53), nullable=False),  # worth_usd times the probability that they leave
)

OFFERS = Table(
    "offers",
    MetaData(),
    Column("as_of", Instant, primary_key=True),
    Column("subject_id", String(64), primary_key=True),
    Column("offer", String(64), nullable=False),
    Column("cost_usd", Float(53), nullable=False),
    Column("gain_usd", Float(53), nullable=False),
    Column("because", Text, nullable=False),
)
Index("ix_offers_gain", OFFERS.c.as_of, OFFERS.c.gain_usd)

SUBJECTS = (
    select(customers.c.customer_id)
    .where(customers.c.customer_id > bindparam("after"), customers.c.joined_at < bindparam("as_of"))
    .order_by(customers.c.customer_id)
    .limit(bindparam("limit"))
)

# The time comes second and the consent last: `agents.jobs._history` reads the first four.
_READ: Sequence[Column[Any]] = (
    customers.c.customer_id,
    purchases.c.at,
    purchases.c.quantity,
    purchases.c.usd,
    customers.c.may_contact,
)
EXTRACT = (
    select(*_READ)
    .select_from(
        customers.outerjoin(
            purchases,
            and_(purchases.c.customer_id == customers.c.customer_id, purchases.c.at < bindparam("as_of")),
        )
    )
    .where(customers.c.customer_id.in_(bindparam("ids", expanding=True)))
    .order_by(customers.c.customer_id, purchases.c.at, purchases.c.purchase_id)
)

_DAYS, _SPEND, _PACE = (COLUMNS.index(name) for name in ("purchase_days", "spend_usd", "usd_per_day"))


def why_unknown(rows: Sequence[Row]) -> str:
    """Why a customer cannot be scored, from their rows."""
    if all(row[1] is None for row in rows):
        return "has bought nothing yet"
    at = next((row[1] for row in rows if not np.isfinite([row[2], row[3]]).all()), None)
    return (
        "quantities or dollars add up to no number"
        if at is None
        else f"the purchase of {at:%Y-%m-%d} has no number for quantity or usd"
    )


def worth(features: Floats) -> Floats:
    """(n, d) -> (n,): dollars a customer spends in 90 days if they stay: their own pace, one of their orders at the least.

    On CDNOW as of 1 July 1997 it says $69.5 on average for those who stayed, who then spent $68.3.
    """
    order = features[:, _SPEND] / features[:, _DAYS]
    return np.maximum(np.maximum(order, features[:, _PACE] * HORIZON_DAYS), 0.0)


def record(scored: Scored) -> Mapping[str, Sequence[Row]]:
    """The rows of `churn_scores` and `offers`; nothing is offered to whom we may not contact."""
    history = scored.history
    last, may_contact = ({row[0]: row[at] for row in history.rows} for at in (1, 4))
    values = worth(scored.features)
    scores, offers = [], []
    for row, subject in enumerate(history.ids):
        risk, value = float(scored.values[row]), float(values[row])
        features, added = scored.features[row], scored.contributions[row]
        told = [reason._asdict() for reason in reasons(features, added)]
        days, spend = int(features[_DAYS]), float(features[_SPEND])
        texts = (_json(told), _json(_rounded(features)), _json(_rounded(added)))
        scores.append(
            (history.as_of, subject, risk, scored.version, *texts, last[subject], days, spend, value, risk * value)
        )
        choice = choose(subject, risk, value) if may_contact[subject] else None
        if choice is not None:
            offers.append((history.as_of, subject, *choice))
    return {SCORES.name: scores, OFFERS.name: offers}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _rounded(values: Floats) -> list[float | None]:
    """As short as a reader needs them; a missing one is null."""
    return [float(f"{value:.5g}") if value == value else None for value in values.tolist()]


@job(
    "churn",
    unit="probability",
    columns=COLUMNS,
    subjects=SUBJECTS,
    extract=EXTRACT,
    why=why_unknown,
    model=explained_booster,
    load=(SCORES, OFFERS),
    record=record,
    low=0,
    high=1,
    rank="at_risk_usd",
    cron="daily",
    catch_up="latest",
)
def churn(history: History) -> Floats:
    """(n, 10), the columns of `agents.jobs._history`."""
    return purchase_features(history)
