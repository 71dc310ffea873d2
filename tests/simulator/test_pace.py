from datetime import UTC, datetime
from random import Random

import pytest

from app.events import RideStarted
from simulator.backoff import wait_s
from simulator.pace import paced
from simulator.plan import Planned, arrivals, schedule


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, 0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1


def planned(due_s: float) -> Planned:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return Planned(due_s, RideStarted(event_id=f"e{due_s}", user_id="u", ride_id="r", at=at))


async def test_nothing_is_early_and_each_says_when_it_was_due() -> None:
    time = FakeTime()
    got = [(due.due, time.now) async for due in paced([planned(s) for s in (0, 1.5, 1.5, 4)], time.clock, time.sleep)]
    assert got == [(1000.0, 1000.0), (1001.5, 1001.5), (1001.5, 1001.5), (1004.0, 1004.0)]


async def test_what_is_overdue_comes_at_once_with_its_old_due_time() -> None:
    time, got = FakeTime(), []
    async for due in paced([planned(s) for s in (0, 1, 2, 9)], time.clock, time.sleep):
        time.now += 3.0  # a slow consumer
        got.append((due.due - 1000, time.now - 1000))
    assert got == [(0, 3), (1, 6), (2, 9), (9, 12)]


async def test_the_rate_is_kept() -> None:
    time = FakeTime()

    def one(number: int, at: datetime, _: Random) -> list[RideStarted]:
        return [RideStarted(event_id=f"e{number}", user_id="u", ride_id="r", at=at)]

    births = arrivals(one, seed=1, start=datetime(2026, 3, 2, tzinfo=UTC), rate=50, speed=1)
    sent = 0
    async for _ in paced(schedule(births, 1.0), time.clock, time.sleep):
        sent += 1
        if time.now > 1060:
            break
    assert 2750 < sent < 3250  # a Poisson count of mean 3000: 4.5 standard deviations


@pytest.mark.parametrize("attempt", [0, 1, 5, 1000])
def test_backoff_grows_is_bounded_and_never_nothing(attempt: int) -> None:
    waits = [wait_s(attempt, Random(seed)) for seed in range(50)]
    most = min(5.0, 0.1 * 2.0 ** min(attempt, 30))
    assert all(most / 2 <= wait <= most for wait in waits)
    assert len(set(waits)) > 40
