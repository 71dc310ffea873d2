"""The desk on a real SQLite file, with Kafka and Redis in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import MillraceError, ServiceUnavailable
from app.events import RideCompleted
from app.live import LiveUpdate
from app.modes.consuming.lifecycle import together
from app.predictions import Prediction
from app.sql.journal import Journal
from app.sql.ledger import Mark, Position, SubjectKey
from app.store import Store
from app.testing import START, Events, MemoryBus
from app.topics import DECISIONS
from decision.books import Books, Laid
from decision.clerk import Clerk
from decision.desk import Desk
from decision.join import Effects, Join, Sourced
from decision.policy import EXPECTED, judge
from decision.push import Announcer, Push


class Told:
    """A live channel that only listens."""

    def __init__(self) -> None:
        self.updates: list[LiveUpdate] = []

    async def publish(self, updates: Sequence[LiveUpdate]) -> None:
        self.updates += updates


class Counted(Books):
    """Notes how many batches each step took.

    Attributes:
        steps: one number per step.
    """

    def __init__(self, clerk: Clerk[Journal], new_join: Callable[[], Join]) -> None:
        super().__init__(clerk, new_join)
        self.steps: list[int] = []

    async def step(
        self, laid: Sequence[Laid], clocks: Mapping[int, datetime], marks: Sequence[Mark], now: datetime
    ) -> list[Effects]:
        self.steps.append(len(laid))
        return await super().step(laid, clocks, marks, now)


class World:
    """One decision worker without its consumer group."""

    def __init__(self, path: Path, deadline_s: float = 0.05) -> None:
        deadlines = {"ride": timedelta(seconds=deadline_s), "upload": timedelta(seconds=deadline_s)}
        self.journal = Journal.open(f"sqlite:///{path / 'store.db'}")
        self.store = Store(self.journal.engine)
        books = Counted(Clerk(self.journal, pause_s=0.001), lambda: Join(judge, deadlines))  # type: ignore[arg-type]
        self.books, self.desk, self.bus, self.live = books, Desk(books), MemoryBus(), Told()
        self.push = Push(self.bus, Announcer(self.live, self.desk), self.desk.marked)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(together(self.desk.run(self.push), self.push.run()))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def decided(self, n: int) -> None:
        await until(lambda: len(self.bus.records(DECISIONS.name)) >= n)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


def sourced(*messages: object) -> list[Sourced]:
    return [Sourced(message, Position("t", 0, i, 0)) for i, message in enumerate(messages)]  # type: ignore[arg-type]


def answers(event: object, without: str | None = None) -> list[Prediction]:
    return [
        Prediction(
            event_id=event.event_id,  # type: ignore[attr-defined]
            subject_id=event.subject_id,  # type: ignore[attr-defined]
            user_id=event.user_id,  # type: ignore[attr-defined]
            kind="ride",
            model=model,
            version="1",
            value=1.0,
            unit="min",
            topic="rides",
            partition=0,
            offset=0,
            event_at=START,
            at=START,
            latency_ms=1.0,
        )
        for model in EXPECTED["ride"]
        if model != without
    ]


async def test_two_users_who_choose_the_same_ids_each_get_their_decision(tmp_path: Path) -> None:
    world = World(tmp_path, deadline_s=30)
    mine = Events().ride(user_id="u1")
    theirs = Events().ride(user_id="u2")
    assert (mine.event_id, mine.ride_id) == (theirs.event_id, theirs.ride_id)
    async with world.running():
        await world.desk.open([0])
        await world.desk.take(0, sourced(mine, *answers(mine)))
        await world.desk.take(0, sourced(theirs, *answers(theirs)))
        await world.decided(2)
        await world.push.drained()
    assert {update.message.user_id for update in world.live.updates} == {"u1", "u2"}
    for ride in (mine, theirs):
        decision = world.store.decision(SubjectKey(ride.user_id, ride.ride_id))
        assert decision is not None
        assert (decision.user_id, decision.missing) == (ride.user_id, ())


async def test_a_deadline_needs_no_further_message(tmp_path: Path) -> None:
    world, ride = World(tmp_path), Events().ride()
    async with world.running():
        await world.desk.open([0])
        await world.desk.take(0, sourced(ride))
        await world.decided(1)
    decision = world.store.decision(SubjectKey(ride.user_id, ride.ride_id))
    assert decision is not None
    assert decision.missing == EXPECTED["ride"]


async def test_an_event_that_may_wait_is_written_down_with_the_answers_to_it(tmp_path: Path) -> None:
    world, ride = World(tmp_path, deadline_s=30), Events().ride()
    async with world.running():
        await world.desk.open([0])
        event = asyncio.create_task(world.desk.take(0, sourced(ride), timedelta(seconds=30)))
        await asyncio.sleep(0)
        await world.desk.take(0, sourced(*answers(ride)))
        assert event.done()
        await world.decided(1)
        assert world.books.steps[0] == 2
        await world.desk.take(0, sourced(Events("t2").ride()), timedelta(milliseconds=1))  # and not for ever


async def test_what_was_pushed_is_marked_soon(tmp_path: Path) -> None:
    world, ride = World(tmp_path), Events().ride()
    async with world.running():
        await world.desk.open([0])
        await world.desk.take(0, sourced(ride, *answers(ride)))
        await until(lambda: not world.journal.undelivered([0]))
        assert await world.desk.unpublished(10) == []
    assert [update.message for update in world.live.updates][-1] == world.store.decision(
        SubjectKey(ride.user_id, ride.ride_id)
    )


async def test_a_successor_finds_what_was_decided_and_not_pushed(tmp_path: Path) -> None:
    first, ride, waiting = World(tmp_path, deadline_s=60), Events().ride(), Events("w").ride()
    await first.desk._books.open([0], START)
    batch = sourced(ride, *answers(ride), waiting, *answers(waiting, without="tip"))
    await first.desk._books.step([Laid(0, batch)], {}, (), START)  # and dies before it pushes
    second = World(tmp_path, deadline_s=60)
    async with second.running():
        undelivered = await second.desk.open([0])
        assert [each.decision.event_id for each in undelivered] == [ride.event_id]
        await second.desk.take(0, sourced(ride, *answers(ride)))
        await second.desk.take(0, sourced(*answers(waiting)[2:3]))
        await second.decided(1)
    assert second.store.decision(SubjectKey(waiting.user_id, waiting.ride_id)) is not None


async def test_a_batch_of_a_partition_given_up_changes_nothing(tmp_path: Path) -> None:
    world, ride = World(tmp_path), Events().ride()
    async with world.running():
        await world.desk.open([0])
        await world.desk.close([0])
        await world.desk.take(0, sourced(ride, *answers(ride)))
    assert world.store.receipt(SubjectKey(ride.user_id, ride.ride_id)) is None


async def test_a_database_that_stays_away_ends_the_desk_and_whoever_waits(tmp_path: Path) -> None:
    world, ride = World(tmp_path), Events().ride()
    await world.desk.open([0])
    with world.journal.transaction() as connection:
        connection.execute(text("ALTER TABLE decisions RENAME TO elsewhere"))
    running = asyncio.create_task(world.desk.run(world.push))
    with pytest.raises(ServiceUnavailable):
        await world.desk.take(0, sourced(ride, *answers(ride)))
    with pytest.raises(ServiceUnavailable):
        await running
    with pytest.raises(ServiceUnavailable):
        await world.desk.take(0, sourced(ride))
    assert world.bus.records(DECISIONS.name) == []


async def test_a_worker_taken_for_dead_pushes_what_its_successor_decided(tmp_path: Path) -> None:
    zombie, successor, ride = World(tmp_path, deadline_s=60), World(tmp_path), Events().ride()
    async with zombie.running(), successor.running():
        await zombie.desk.open([0])
        await zombie.desk.take(0, sourced(ride, *answers(ride, without="tip")))
        await successor.desk.open([0])
        await successor.decided(1)  # at its deadline, without the tip
        await zombie.desk.take(0, sourced(*answers(ride)[2:3]))
        await zombie.decided(1)
    (first,), (second,) = (world.bus.records(DECISIONS.name) for world in (successor, zombie))
    assert first.value == second.value


async def test_what_its_successor_has_measured_a_worker_taken_for_dead_measures_no_second_time(tmp_path: Path) -> None:
    zombie, successor, ride = World(tmp_path, deadline_s=60), World(tmp_path, deadline_s=60), Events().ride()
    completed = RideCompleted(
        event_id="c", user_id=ride.user_id, at=START, ride_id=ride.ride_id, fare_usd=9.0, tip_usd=1.0, duration_min=7.0
    )
    async with zombie.running(), successor.running():
        await zombie.desk.open([0])
        await zombie.desk.take(0, sourced(ride, *answers(ride)))
        await successor.desk.open([0])
        await successor.desk.take(0, sourced(completed))
        with pytest.raises(MillraceError, match="begin anew"):
            await zombie.desk.take(0, sourced(completed))
    assert {error.n for error in successor.store.live_errors()} == {1}


async def test_while_another_writer_has_the_file_the_loop_goes_on(tmp_path: Path) -> None:
    world, ride = World(tmp_path, deadline_s=30), Events().ride()
    async with world.running():
        await world.desk.open([0])
        with world.journal.transaction() as other:
            other.execute(text("UPDATE actions SET n = n"))  # takes the file's one write lock
            taking = asyncio.create_task(world.desk.take(0, sourced(ride, *answers(ride))))
            for _ in range(100):
                await asyncio.sleep(0.001)  # the loop turns meanwhile
            assert not taking.done()
        await taking
        await world.decided(1)
    decision = world.store.decision(SubjectKey(ride.user_id, ride.ride_id))
    assert decision is not None
    assert decision.missing == ()


@pytest.mark.parametrize("turns", range(6))
async def test_told_to_end_in_the_turn_in_which_it_wakes_it_ends(tmp_path: Path, turns: int) -> None:
    world = World(tmp_path)
    running = asyncio.create_task(world.desk.run(world.push))
    taking = [asyncio.create_task(world.desk.take(0, [], timedelta(hours=hours))) for hours in (2, 1)]
    for _ in range(20):
        await asyncio.sleep(0)  # it waits for the first of them to be due
    taking.append(asyncio.create_task(world.desk.take(0, [], timedelta(hours=1))))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=5)
    assert done
    await asyncio.gather(*taking, return_exceptions=True)
