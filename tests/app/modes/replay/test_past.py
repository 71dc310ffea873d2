"""The list of replays: what each is about, how far it is, and whether anybody is at work on it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.modes.replay.book import LEASE, Advance, Book, Cut
from app.modes.replay.past import past
from app.modes.replay.plan import Chosen, Part, Plan, Rows, Span
from app.sql.replay_schema import lanes
from app.sql.replays import Replays
from app.testing import Clock

PLAN = Plan(chosen=(Chosen("cost", "1"),), source=Rows("table", "/rides.parquet", "e"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replays(database: str) -> Iterator[Replays]:
    replays = Replays.open(database)
    yield replays
    replays.close()


def begun(replays: Replays, run: str, clock: Clock, *sizes: int) -> Book:
    book = Book(replays, run, clock)
    book.begin(PLAN, [Cut(Chosen("cost", "1"), "usd", Span((Part("f", 0, 0, 0, size),))) for size in sizes])
    clock.advance(seconds=10)
    return book


def test_every_run_with_its_state_the_newest_first(replays: Replays, clock: Clock) -> None:
    done, halfway = begun(replays, "done", clock, 100), begun(replays, "halfway", clock, 100, 50)
    begun(replays, "empty", clock)
    for book, position in ((done, 100), (halfway, 40)):
        lane = book.claim()
        assert lane is not None
        with book.entering(lane, Advance(position, position - 1, 1)):
            pass
    done.finish()
    empty, second, first = past(replays, clock)
    assert (empty.run, empty.state, empty.passed, empty.size) == ("empty", "stopped", 0, 0)
    assert (second.run, second.state, second.passed, second.size) == ("halfway", "running", 40, 150)
    assert (second.predicted, second.failed, second.plan) == (39, 1, PLAN)
    assert second.rate(second.began_at + timedelta(seconds=20)) == pytest.approx(2)
    assert (first.run, first.state, first.rate(clock())) == ("done", "done", pytest.approx(100 / 30))
    clock.advance(seconds=LEASE.total_seconds() + 1)
    assert [(each.state, each.rate(clock())) for each in past(replays, clock)][:2] == [("stopped", None)] * 2


def test_a_worker_of_this_machine_that_is_dead_is_at_work_on_nothing(replays: Replays, clock: Clock) -> None:
    book = begun(replays, "killed", clock, 100)
    assert book.claim() is not None
    host, pid, _, mark = book.owner.rsplit("/", 3)
    with replays.transaction() as connection:
        connection.execute(update(lanes).values(owner=f"{host}/{int(pid) + 1}/1.00/{mark}"))
    assert [each.state for each in past(replays, clock)] == ["stopped"]


def test_nothing_was_begun_yet(replays: Replays) -> None:
    assert past(replays) == []
