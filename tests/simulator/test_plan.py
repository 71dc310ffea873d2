from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events import AnyEvent, RideStarted
from simulator.plan import Birth, Life, Planned, arrivals, at_rate, in_event_time, parted, schedule, until

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def life(number: int, opened: datetime, gaps_s: list[float]) -> Life:
    at, events = opened, []
    for step, gap_s in enumerate([0.0, *gaps_s]):
        at += timedelta(seconds=gap_s)
        events.append(RideStarted(event_id=f"e{number}.{step}", user_id="u", ride_id=f"r{number}", at=at))
    return events


def one(number: int, at: datetime, rng: Random) -> list[AnyEvent]:
    return [RideStarted(event_id=f"e{number}", user_id="u", ride_id=f"r{rng.random()}", at=at)]


lives = st.lists(st.tuples(st.floats(0, 1000), st.lists(st.floats(0, 500), max_size=5)), max_size=12)


@given(lives, st.sampled_from([0.5, 1.0, 60.0, inf]))
def test_a_plan_holds_every_event_once_in_the_order_it_is_due(
    drawn: list[tuple[float, list[float]]], speed: float
) -> None:
    made = [life(n, START + timedelta(seconds=at), gaps) for n, (at, gaps) in enumerate(sorted(drawn))]
    plan = list(schedule(in_event_time(made, speed), speed))
    assert sorted(p.event.event_id for p in plan) == sorted(e.event_id for events in made for e in events)
    assert all(a.due_s <= b.due_s for a, b in pairwise(plan))
    assert all(a.event.at <= b.event.at for a, b in pairwise(plan))


def test_a_speed_divides_the_time_between_the_events_of_a_life() -> None:
    plan = list(schedule(in_event_time([life(0, START, [600.0])], 60.0), 60.0))
    assert [p.due_s for p in plan] == [0.0, 10.0]


def test_the_source_is_read_no_further_than_needed() -> None:
    read: list[int] = []

    def births() -> Iterator[Birth]:
        for number in range(1000):
            read.append(number)
            yield Birth(float(number), life(number, START + timedelta(seconds=number), []))

    assert len(list(islice(schedule(births(), 1.0), 10))) == 10
    assert len(read) <= 12


def test_arrivals_come_at_the_rate_and_stop_when_told() -> None:
    births = list(until(arrivals(one, seed=7, start=START, rate=20.0, speed=60.0), 100.0))
    assert 1800 < len(births) < 2200  # a Poisson count of mean 2000: 4.5 standard deviations
    assert all(birth.due_s < 100.0 for birth in births)


def test_event_time_runs_as_fast_as_the_speed_says() -> None:
    for birth in islice(arrivals(one, seed=7, start=START, rate=1.0, speed=60.0), 20):
        assert abs((birth.life[0].at - START).total_seconds() - 60 * birth.due_s) < 1e-3


def test_arrivals_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = (list(islice(arrivals(one, seed=s, start=START, rate=1, speed=1), 50)) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_recording_at_a_rate_is_evenly_spaced() -> None:
    births = at_rate((life(n, START + timedelta(hours=n), []) for n in range(5)), 4.0)
    assert [birth.due_s for birth in births] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_plan_that_begins_in_its_middle_loses_nothing_and_keeps_its_order() -> None:
    plan = [Planned(due_s, one(n, START, Random(n))[0]) for n, due_s in enumerate((0.0, 5.0, 9.0, 10.0, 14.0))]
    before, after = parted(plan, at_s=10.0, lasting_s=2.0)
    assert [each.due_s for each in before] == [0.0, 1.0, pytest.approx(1.8)]
    rest = list(after)
    assert [each.due_s for each in rest] == [0.0, 4.0]
    assert [each.event for each in (*before, *rest)] == [each.event for each in plan]
    whole, nothing = parted(plan, at_s=99.0, lasting_s=1.0)
    assert (len(whole), list(nothing)) == (5, [])
