"""The customers and what they bought: the source database that scheduled jobs read and `millrace simulate` fills.

A company's own database takes its place: the two tables (or views of these names and columns) are all a job needs.
`MILLRACE_CUSTOMERS` names it; unset, it is `customers.db` in the data directory.
"""

from sqlalchemy import Boolean, Column, Engine, Float, ForeignKey, Index, Integer, MetaData, String, Table

from app.schema import Instant
from app.store import engine_for
from app.tables import ensure

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
    Column("items", Integer, nullable=False),
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
