"""`agents._calendar` against the standard library, hour by hour."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents._calendar import NEW_YORK, federal_holidays, is_holiday, local, weekday

INSTANTS = st.datetimes(datetime(2009, 1, 1), datetime(2060, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone


@given(INSTANTS)
def test_local_time_is_what_zoneinfo_says(instant: datetime) -> None:
    shown = instant.astimezone(NEW_YORK).replace(tzinfo=UTC)
    ours = local(np.array([instant.timestamp()]))
    assert ours[0] == pytest.approx(shown.timestamp(), abs=1e-6, rel=0)  # two roundings to half a microsecond
    assert weekday(ours)[0] == shown.weekday()
    assert is_holiday(ours)[0] == (shown.date() in federal_holidays(shown.year))


def test_the_clocks_change_to_the_second() -> None:
    change = datetime(2023, 3, 12, 7, tzinfo=UTC).timestamp()
    before, after = local(np.array([change - 1, change]))
    assert after - before == 3601


def test_the_holidays_of_2023() -> None:
    assert federal_holidays(2023) == tuple(
        date(2023, month, day)
        for month, day in (
            (1, 1), (1, 16), (2, 20), (5, 29), (6, 19), (7, 4), (9, 4), (10, 9), (11, 11), (11, 23), (12, 25),
        )
    )  # fmt: skip


def test_a_batch_is_as_one_by_one() -> None:
    start = datetime(2023, 1, 1, tzinfo=UTC)
    instants = np.array([(start + timedelta(hours=7 * i)).timestamp() for i in range(1500)])
    assert (local(instants) == [local(instants[i : i + 1])[0] for i in range(len(instants))]).all()
