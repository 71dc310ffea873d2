"""When a job is due, across the clock changes of Berlin in 2026 (29 March, 25 October) and elsewhere."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ConfigurationError
from app.jobs.cron import PRESETS, cron

BERLIN = "Europe/Berlin"


def dues(expression: str, zone: str, after: str, count: int) -> list[str]:
    start = datetime.fromisoformat(after)
    return [f"{due:%m-%d %H:%M}" for due in islice(cron(expression, zone).after(start), count)]


def test_the_presets() -> None:
    after = "2026-11-21T12:30+00:00"  # a Saturday
    assert dues("hourly", "UTC", after, 2) == ["11-21 13:00", "11-21 14:00"]
    assert dues("daily", "UTC", after, 2) == ["11-22 06:00", "11-23 06:00"]
    assert dues("weekly", "UTC", after, 2) == ["11-23 06:00", "11-30 06:00"]
    assert dues("monthly", "UTC", after, 2) == ["12-01 06:00", "01-01 06:00"]


def test_a_time_of_day_stays_one_when_the_clocks_change() -> None:
    assert dues("daily", BERLIN, "2026-03-27T12:00+00:00", 3) == ["03-28 05:00", "03-29 04:00", "03-30 04:00"]


def test_a_time_that_is_skipped_is_due_right_after_and_once() -> None:
    assert dues("30 2 * * *", BERLIN, "2026-03-28T12:00+00:00", 2) == ["03-29 01:00", "03-30 00:30"]
    assert dues("15,30 2 * * *", BERLIN, "2026-03-28T12:00+00:00", 2) == ["03-29 01:00", "03-30 00:15"]


def test_a_time_that_comes_twice_is_due_once() -> None:
    assert dues("30 2 * * *", BERLIN, "2026-10-24T12:00+00:00", 2) == ["10-25 00:30", "10-26 01:30"]
    assert dues("50 2 * * *", BERLIN, "2026-10-25T01:40+00:00", 1) == ["10-26 01:50"]  # asked in the second of the two


def test_every_hour_is_every_real_hour() -> None:
    spring = dues("hourly", BERLIN, "2026-03-29T00:30+00:00", 3)
    autumn = dues("hourly", BERLIN, "2026-10-24T23:30+00:00", 4)
    assert spring == ["03-29 01:00", "03-29 02:00", "03-29 03:00"]
    assert autumn == ["10-25 00:00", "10-25 01:00", "10-25 02:00", "10-25 03:00"]


@given(
    expression=st.sampled_from([*PRESETS.values(), "30 2 * * *", "*/20 1-3 * * *", "0 2 25 10 *"]),
    zone=st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"]),
    start=st.timedeltas(timedelta(0), timedelta(days=730)).map(lambda later: datetime(2026, 1, 1, tzinfo=UTC) + later),
)
def test_dues_are_in_order_and_the_last_is_found_again(expression: str, zone: str, start: datetime) -> None:
    times = cron(expression, zone)
    found = list(islice(times.after(start), 4))
    assert [start, *found] == sorted({start, *found})
    for due in found:
        assert times.last(due) == due
        assert times.last(due + timedelta(microseconds=1)) == due
    assert times.last(found[0] - timedelta(microseconds=1)) <= start


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("0 25 * * *", "UTC", "bad hour"),
        ("* * * *", "UTC", "five fields"),
        ("61 * * * *", "UTC", "bad minute; five fields are wanted"),
        ("* * * * * *", "UTC", "five fields"),
        ("nightly", "UTC", "daily"),
        ("0 0 30 2 *", "UTC", "bad day"),
        ("daily", "Mars/Olympus", "Mars/Olympus"),
        ("daily", "../etc", "time zone"),
        ("daily", "", "time zone"),
    ],
)
def test_what_cannot_be_honoured_is_said(expression: str, zone: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        cron(expression, zone)
