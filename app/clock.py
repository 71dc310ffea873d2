"""The wall clock. Whoever needs the time takes a clock as a parameter, and this one by default."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)
