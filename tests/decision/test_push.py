"""The push and the announcer, with Kafka in memory and a Redis that can be taken away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from app import codec
from app.bus import Delivered, Outgoing
from app.decisions import Decision
from app.errors import DeliveryFailed, ServiceUnavailable
from app.live import LiveUpdate
from app.modes.consuming.lifecycle import together
from app.sql.journal import Unpushed
from app.sql.ledger import DecisionKey, Made, Mark
from app.testing import START, MemoryBus
from app.topics import DECISIONS
from decision.push import Announcer, Parcel, Push


def decision(name: str) -> Decision:
    return Decision(
        decision_id=f"{name}.0",
        subject_id=name,
        user_id="u",
        kind="ride",
        event_id=name,
        event_at=START,
        at=START,
        action="quote",
        reasons=("about 14 min",),
        predictions=(),
    )


class Redis:
    """A live channel that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.told: list[LiveUpdate] = []

    async def publish(self, updates: Sequence[LiveUpdate]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise ServiceUnavailable("redis", "away")
        self.told += updates


class Outbox:
    """Marks as the journal keeps them."""

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.made: dict[str, Decision] = {}

    async def unpublished(self, limit: int) -> Sequence[Unpushed]:
        await asyncio.sleep(0)
        waiting = [mark for mark in self.marks.values() if not mark.published]
        return [Unpushed(self.made[m.decision.decision_id], None, m.partition, m.offset) for m in waiting[:limit]]

    async def mark(self, marks: Sequence[Mark]) -> None:
        self.note(marks)

    def note(self, marks: Sequence[Mark]) -> None:
        self.marks.update({mark.decision.decision_id: mark for mark in marks})


class World:
    def __init__(self, bus: MemoryBus | None = None) -> None:
        self.bus, self.redis, self.outbox = bus or MemoryBus(), Redis(), Outbox()
        self.announcer = Announcer(self.redis, self.outbox, return_s=0.001)
        self.push = Push(self.bus, self.announcer, self.outbox.note)

    async def put(self, *names: str, again: bool = False) -> None:
        made = [decision(name) for name in names]
        self.outbox.made.update({each.decision_id: each for each in made})
        await self.push.put(Parcel(decisions=[Made(each, 0, TRACE) for each in made], again=again))

    def on_topic(self) -> list[str]:
        return [codec.header(record.headers, "ce_id") or "" for record in self.bus.records(DECISIONS.name)]

    def told(self) -> list[str]:
        return [update.message.decision_id for update in self.redis.told if isinstance(update.message, Decision)]


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    task = asyncio.create_task(together(world.push.run(), world.announcer.run()))
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def test_a_decision_is_on_the_topic_told_and_marked() -> None:
    async with running(World()) as world:
        await world.put("a", "b")
        await world.push.drained()
        assert world.on_topic() == world.told() == ["a.0", "b.0"]
        assert world.outbox.marks["b.0"] == Mark(DecisionKey("u", "b.0"), *_where(world, "b.0"), published=True)
        (record, _) = world.bus.records(DECISIONS.name)
        assert (record.key, codec.header(record.headers, "traceparent")) == (b"u", TRACE)


async def test_a_second_push_is_flagged() -> None:
    async with running(World()) as world:
        await world.put("a", again=True)
        await world.push.drained()
        assert [update.again for update in world.redis.told] == [True]


async def test_redis_away_stops_no_decision_and_what_it_missed_is_made_up_for() -> None:
    async with running(World()) as world:
        world.redis.away = True
        for i in range(600):
            await world.put(f"d{i}")
        await world.push.drained()
        assert len(world.on_topic()) == 600
        assert world.told() == []
        world.redis.away = False
        await until(lambda: all(mark.published for mark in world.outbox.marks.values()))
        assert set(world.told()) == set(world.on_topic())
        assert all(update.again for update in world.redis.told)
        before = len(world.redis.told)
        await until(lambda: not world.announcer.behind)
        await world.put("later")
        await world.push.drained()
        assert [update.again for update in world.redis.told[before:]] == [False]


async def test_what_a_predecessor_left_untold_is_told() -> None:
    async with running(World()) as world:
        left = decision("left")
        world.outbox.made["left.0"] = left
        world.outbox.note([Mark(DecisionKey.of(left), 0, 3, published=False)])
        world.announcer.catch_up()
        await until(lambda: world.told() == ["left.0"])
        assert world.on_topic() == []


class SlowBroker(MemoryBus):
    """A broker that acknowledges nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        await self.let.wait()
        return await super().send(records)


async def test_what_redis_missed_is_made_up_for_though_the_topic_had_it_later() -> None:
    broker = SlowBroker()
    async with running(World(broker)) as world:
        world.redis.away = True
        await world.put("a")
        await until(lambda: world.announcer.behind)
        world.redis.away = False
        await until(lambda: not world.announcer.behind)  # the outbox has been seen empty: the topic has nothing yet
        broker.let.set()
        await until(lambda: world.told() == ["a.0"])


class NoBroker(MemoryBus):
    """A broker that is away, and is asked again at once."""

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        failure = DeliveryFailed("away")
        failure.retry_after_s = 0.0
        raise failure


async def test_kafka_away_for_good_ends_the_push() -> None:
    world = World(NoBroker())
    await world.put("a")
    with pytest.raises(DeliveryFailed):
        await world.push.run()
    assert world.outbox.marks == {}, "so its successor pushes it again"


def _where(world: World, decision_id: str) -> tuple[int, int]:
    ((partition, offset),) = {
        (record.partition, record.offset)
        for record in world.bus.records(DECISIONS.name)
        if codec.header(record.headers, "ce_id") == decision_id
    }
    return partition, offset
