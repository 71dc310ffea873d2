"""When a job is due: a cron expression in a time zone, as instants. Pure; `app.modes.schedule` acts on it.

Daylight saving follows Debian's cron: a time of day that the clocks skip is due right after the skip, one that comes
twice is due once, and an expression that begins with every hour (`0 * * * *`) is due each real hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from app.errors import ConfigurationError

PRESETS = {
    "hourly": "0 * * * *",
    "daily": "0 6 * * *",  # before anybody is at work, and clear of the hours that daylight saving moves
    "weekly": "0 6 * * MON",
    "monthly": "0 6 1 * *",
}

_FIELDS = 5
_FORM = (
    "five fields are wanted (minute, hour, day of the month, month, day of the week: 0 6 * * MON), "
    f"or one of {', '.join(PRESETS)}"
)
_ANY_TIME = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Cron:
    """An expression and its zone, both known to be good; see `cron`."""

    expression: str
    zone: ZoneInfo

    def after(self, instant: datetime) -> Iterator[datetime]:
        """Every due instant later than this one, in UTC, in order and each once, without end."""
        for due in CronSim(self.expression, instant.astimezone(self.zone)):
            # Near the hour that comes twice the library may step back, and a skipped hour folds several dues into one.
            if due.astimezone(UTC) > instant:
                instant = due.astimezone(UTC)
                yield instant

    def last(self, instant: datetime) -> datetime:
        """The latest due instant that is not later than this one, in UTC."""
        clear = instant.astimezone(self.zone) + timedelta(days=1)  # of an hour that comes twice
        dues = (due.astimezone(UTC) for due in CronSim(self.expression, clear, reverse=True))
        return next(due for due in dues if due <= instant)

    def __str__(self) -> str:
        return f"{self.expression} ({self.zone.key})"


def cron(expression: str, zone: str = "UTC") -> Cron:
    """Check an expression (five fields, or "hourly", "daily", "weekly", "monthly") and the name of its zone.

    Raises `ConfigurationError` for either.

    Example:
        >>> weekly = cron("weekly", "Europe/Berlin")
        >>> next(weekly.after(datetime(2026, 11, 21, tzinfo=UTC))).isoformat()
        '2026-11-23T05:00:00+00:00'
    """
    written = PRESETS.get(expression, expression)
    if len(written.split()) != _FIELDS:  # the library would read a sixth as seconds
        raise ConfigurationError(f"cron {expression!r}: {_FORM}")
    try:
        checked = Cron(written, ZoneInfo(zone))
        next(checked.after(_ANY_TIME))
    except CronSimError as error:
        raise ConfigurationError(f"cron {expression!r}: {str(error).lower()}; {_FORM}") from error
    except StopIteration as error:
        raise ConfigurationError(f"cron {expression!r} is never due") from error
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(f"time zone {zone!r} is not known here (Europe/Berlin is one)") from error
    return checked
