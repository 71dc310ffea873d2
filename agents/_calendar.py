"""Local time in New York for a whole batch at once: the ride agents' clock."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEW_YORK = ZoneInfo("America/New_York")
DAY_S = 86_400
_FIRST, _LAST = 2009, 2060  # the TLC's records begin in 2009; outside, the nearest offset holds
_THURSDAY = 3  # 1 January 1970, counting Monday as 0


@lru_cache(maxsize=1)
def _offsets() -> tuple[Floats, Floats]:
    """Instants (s since 1970) at which the clocks change, and the offset (s) before the first and after each."""
    day = datetime(_FIRST, 1, 1, tzinfo=UTC)
    instants: list[float] = []
    offsets = [_offset(day)]
    while day.year <= _LAST:
        following = day + timedelta(days=1)
        if _offset(following) != offsets[-1]:
            hours = (day + timedelta(hours=hour) for hour in range(1, 25))
            instants.append(next(hour for hour in hours if _offset(hour) != offsets[-1]).timestamp())
            offsets.append(_offset(following))
        day = following
    return np.array(instants), np.array(offsets)


def _offset(instant: datetime) -> float:
    return instant.astimezone(NEW_YORK).utcoffset().total_seconds()  # type: ignore[union-attr]  # aware: it has one


def local(instants: Floats) -> Floats:
    """Seconds since 1970 in UTC -> seconds since 1970 as a clock in New York shows them, (n,) -> (n,)."""
    changes, offsets = _offsets()
    shifted: Floats = instants + offsets[np.searchsorted(changes, instants, side="right")]
    return shifted


def weekday(local_s: Floats) -> Floats:
    """Monday 0 ... Sunday 6, of local seconds."""
    found: Floats = (np.floor(local_s / DAY_S) + _THURSDAY) % 7
    return found


@lru_cache(maxsize=1)
def _holidays() -> NDArray[np.int64]:
    """Days since 1970 of the US federal holidays (5 U.S.C. 6103), on their own date; sorted."""
    days = [day for year in range(_FIRST, _LAST + 1) for day in federal_holidays(year)]
    return np.array(sorted((day - date(1970, 1, 1)).days for day in days))


def is_holiday(local_s: Floats) -> NDArray[np.bool_]:
    """Whether a local instant falls on a federal holiday."""
    days, holidays = np.floor(local_s / DAY_S), _holidays()
    return np.asarray(holidays[np.minimum(np.searchsorted(holidays, days), len(holidays) - 1)] == days, np.bool_)


def federal_holidays(year: int) -> Sequence[date]:
    """The eleven of a year, in order.

    Example:
        >>> federal_holidays(2023)[1]
        datetime.date(2023, 1, 16)
    """
    return (
        date(year, 1, 1),
        _nth(year, 1, 0, 3),
        _nth(year, 2, 0, 3),
        _nth(year, 6, 0, 1) - timedelta(days=7),
        date(year, 6, 19),
        date(year, 7, 4),
        _nth(year, 9, 0, 1),
        _nth(year, 10, 0, 2),
        date(year, 11, 11),
        _nth(year, 11, 3, 4),
        date(year, 12, 25),
    )


def _nth(year: int, month: int, day_of_week: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(day_of_week - first.weekday()) % 7 + 7 * (n - 1))
