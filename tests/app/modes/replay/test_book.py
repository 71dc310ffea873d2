"""The book of a replay, on SQLite and on PostgreSQL alike."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.errors import ConfigurationError, ServiceUnavailable
from app.modes.replay.book import LEASE, Advance, Book, Cut, LaneLost, unfinished
from app.modes.replay.plan import Chosen, Part, Plan, Span, TopicRange
from app.modes.replay.rows import Columns
from app.modes.replay.targets import insert_rows
from app.sql.replay_schema import replayed
from app.sql.replays import Replays
from app.testing import Clock

CHOSEN = Chosen("cost", "1")
PLAN = Plan(chosen=(CHOSEN,), source=TopicRange(topic="rides"))


@pytest.fixture
def replays(database: str) -> Iterator[Replays]:
    with closing(Replays.open(database)) as replays:
        yield replays


@pytest.fixture
def clock() -> Clock:
    return Clock()


def span(size: int, partition: int = 0) -> Span:
    return Span((Part("rides", partition, 0, 0, size),))


@pytest.fixture
def book(replays: Replays, clock: Clock) -> Book:
    book = Book(replays, "r1", clock)
    book.begin(PLAN, [Cut(CHOSEN, "usd", span(1000)), Cut(CHOSEN, "usd", span(50, 1))])
    return book


def columns(offsets: Sequence[int]) -> Columns:
    n = len(offsets)
    ids = [f"e{offset}" for offset in offsets]
    return Columns(
        [0] * n,
        [0] * n,
        list(offsets),
        ["u"] * n,
        ids,
        ids,
        ["initial"] * n,
        [1.5] * n,
        [7] * n,
        [None] * n,
        [b"{}"] * n,
    )


def other(book: Book, replays: Replays, clock: Clock) -> Book:
    """Another worker, of a machine that this one knows nothing of."""
    another = Book(replays, book.run, clock)
    another.owner = "elsewhere/1/0/x"
    return another


def test_remembers_what_it_is_to_do(book: Book) -> None:
    assert book.plan() == PLAN
    assert book.standing()[:3] == (1050, 0, 0)


def test_a_name_is_taken_once(book: Book) -> None:
    with pytest.raises(ConfigurationError, match="r1 already"):
        book.begin(PLAN, [])


def test_two_workers_never_have_the_same_lane(book: Book, replays: Replays, clock: Clock) -> None:
    another = other(book, replays, clock)
    first, second = book.claim(), another.claim()
    assert first is not None
    assert second is not None
    assert first.lane != second.lane
    assert (book.claim(), another.claim()) == (None, None)


def test_what_is_entered_moves_the_lane_with_its_rows(book: Book, replays: Replays) -> None:
    lane = book.claim()
    assert lane is not None
    with book.entering(lane, Advance(600, 600, 0, b"state")) as connection:
        insert_rows(connection, lane.lane, columns(range(600)))
    book.release(lane)
    again = book.claim()
    assert again is not None
    assert (again.position, again.state, again.taken_up) == (600, b"state", True)
    with replays.connected() as connection:
        found = connection.execute(select(replayed).order_by(replayed.c.offset)).all()
    assert [(row.offset, row.event_id, row.value, row.zone, row.detail) for row in found] == [
        (offset, f"e{offset}", 1.5, None, b"{}") for offset in range(600)
    ]


def test_a_failure_keeps_neither(book: Book, replays: Replays) -> None:
    lane = book.claim()
    assert lane is not None
    with pytest.raises(ServiceUnavailable), book.entering(lane, Advance(40, 40, 0)) as connection:
        insert_rows(connection, lane.lane, columns([*range(40), 39]))
    assert book.standing().passed == 0
    with replays.connected() as connection:
        assert connection.execute(select(replayed)).all() == []


def test_a_worker_that_lost_its_lane_enters_nothing(book: Book, replays: Replays, clock: Clock) -> None:
    slow = other(book, replays, clock)
    lane = slow.claim()
    assert lane is not None
    clock.advance(seconds=LEASE.total_seconds() + 1)
    taken = book.claim()
    assert taken is not None
    assert (taken.lane, taken.taken_up) == (lane.lane, True)
    with pytest.raises(LaneLost), slow.entering(lane, Advance(10, 10, 0)) as connection:
        insert_rows(connection, lane.lane, columns(range(10)))
    with book.entering(taken, Advance(10, 10, 0)) as connection:
        insert_rows(connection, taken.lane, columns(range(10)))


def test_a_dead_worker_of_this_machine_is_not_waited_for(book: Book, replays: Replays, clock: Clock) -> None:
    dead = Book(replays, book.run, clock)
    host, pid, since, name = dead.owner.rsplit("/", 3)
    dead.owner = f"{host}/{pid}/{float(since) - 1000:.2f}/{name}".replace(
        f"/{pid}/", "/1/"
    )  # pid 1 began at another time
    lane = dead.claim()
    assert lane is not None
    assert (again := book.claim()) is not None
    assert again.lane == lane.lane


def test_is_finished_when_every_lane_is(book: Book, replays: Replays) -> None:
    assert unfinished(replays) == "r1"
    while (lane := book.claim()) is not None:
        with book.entering(lane, Advance(lane.span.size, 1, 2)):
            pass
    book.finish()
    standing = book.standing()
    assert standing.finished
    assert (standing.passed, standing.predicted, standing.failed) == (1050, 2, 4)
    assert unfinished(replays) is None


def test_a_lease_outlives_a_slow_batch() -> None:
    assert timedelta(minutes=1) < LEASE
