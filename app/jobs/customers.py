"""The customers and what they bought: the source database that scheduled jobs read and `millrace simulate` fills.

A company's own database takes its place: the two tables (or views of these names and columns) are all a job needs.
`MILLRACE_CUSTOMERS` names it; unset, it is `customers.db` in the data directory.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Boolean, Column, Engine, Float, ForeignKey, Index, Integer, MetaData, String, Table

from app.errors import ConfigurationError
from app.sql.engine import engine_for
from app.sql.schema import Instant
from app.sql.tables import ensure

SETTING = "MILLRACE_CUSTOMERS"
metadata = MetaData()

customers = Table(
    "customers",
    metadata,
    Column("customer_id", String(64), primary_key=True),
    Column("joined_at", Instant, nullable=False),
    Column("may_contact", Boolean, nullable=False),  # consents to offers
)

purchases = Table(
    "purchases",
    metadata,
    Column("purchase_id", String(80), primary_key=True),
    Column("customer_id", String(64), ForeignKey("customers.customer_id"), nullable=False),
    Column("at", Instant, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("usd", Float(53), nullable=False),  # what the whole purchase cost
)
Index("ix_purchases_customer", purchases.c.customer_id, purchases.c.at)


def open_customers(url: str) -> Engine:
    """The source database, its tables created where they are missing.

    Raises `ConfigurationError` for a url nobody understands and for a table that lacks a column.
    """
    engine = engine_for(url, SETTING)
    ensure(engine, metadata, SETTING)
    return engine


LOG_COLUMNS = ["customer_id", "date", "cds", "usd"]


class Purchase(NamedTuple):
    """One line of a purchase log; a date is taken as its first moment in UTC."""

    customer_id: str
    at: datetime
    quantity: int
    usd: float


def read_log(path: Path) -> Iterator[Purchase]:
    """The purchases of a log like CDNOW's, in its order. Raises `ConfigurationError` naming the line that is none."""
    try:
        file = path.open(newline="", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    with file:
        rows = csv.reader(file)
        if next(rows, None) != LOG_COLUMNS:
            raise ConfigurationError(f"{path}: the first line of a purchase log is {','.join(LOG_COLUMNS)}")
        for number, row in enumerate(rows, 2):
            try:
                customer_id, date, quantity, usd = row
                at = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
                yield Purchase(customer_id, at, int(quantity), float(usd))
            except ValueError as error:
                raise ConfigurationError(f"{path}, line {number}: {error}") from error
