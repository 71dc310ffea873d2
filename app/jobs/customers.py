"""The customers and what they bought: the source database that scheduled jobs read and `millrace simulate` fills.

A company's own database takes its place: the two tables (or views of these names and columns) are all a job needs.
`MILLRACE_CUSTOMERS` names it; unset, it is `customers.db` in the data directory.
"""

import csv
import re
from collections.abc import Iterator, Sequence
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
_LONGEST_ID = 64

customers = Table(
    "customers",
    metadata,
    Column("customer_id", String(_LONGEST_ID), primary_key=True),
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
    """The purchases of a log like CDNOW's, in its order. Raises `ConfigurationError` naming the line and column that is none."""
    number = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            if next(rows, None) != LOG_COLUMNS:
                raise ConfigurationError(f"{path}: the first line of a purchase log is {','.join(LOG_COLUMNS)}")
            for number, row in enumerate(rows, 2):  # noqa: B007 - the handler below tells it
                yield _purchase(row)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}, after line {number}: not UTF-8") from error
    except csv.Error as error:
        raise ConfigurationError(f"{path}, after line {number}: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}, line {number}: {error}") from error


def _purchase(row: Sequence[str]) -> Purchase:
    """Raises `ValueError` naming the column."""
    if len(row) != len(LOG_COLUMNS):
        raise ValueError(f"{len(row)} columns, not {','.join(LOG_COLUMNS)}")
    customer_id, date, quantity, usd = row
    if not 1 <= len(customer_id) <= _LONGEST_ID:
        raise ValueError(f"customer_id: {customer_id!r} has not 1 to {_LONGEST_ID} characters")
    try:
        at = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"date: {date!r} is no day such as 1997-01-31") from None
    if not re.fullmatch(r"[0-9]{1,9}", quantity):
        raise ValueError(f"cds: {quantity!r} is no number of items")
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]*)?", usd):
        raise ValueError(f"usd: {usd!r} is no number of dollars")
    return Purchase(customer_id, at, int(quantity), float(usd))
