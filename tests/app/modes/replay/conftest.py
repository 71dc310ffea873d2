"""Replays of real agents: rides and uploads on a topic of the test's own, and what is needed to work on them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.agent import Agent
from app.bus import Outgoing
from app.events import Event, Place, RideCompleted, RidePositioned, RideRequested, RideStarted
from app.modes.replay.book import Book
from app.modes.replay.manners import Pace
from app.modes.replay.plan import Chosen, Plan, TopicRange
from app.modes.replay.run import Worker, cut
from app.modes.replay.score import load
from app.modes.replay.sources import Source, TopicSource
from app.modes.replay.targets import StoreTarget, Target
from app.registry import Registry, shipped_root
from app.settings import Settings
from app.sql.replay_schema import lanes, replayed
from app.sql.replays import Replays
from app.testing import START, outgoing
from app.topics import RIDES, UPLOADS, Topic


def life(number: int, rng: random.Random, positions: int = 3) -> list[Event]:
    """A ride from its request to its end."""
    ride: dict[str, Any] = {"user_id": f"u{number % 9}", "ride_id": f"r{number}"}
    at = START + timedelta(seconds=number)
    zones: dict[str, Any] = {"pickup": Place(zone=rng.randint(1, 263)), "dropoff": Place(zone=rng.randint(1, 263))}
    moves = [
        RidePositioned(
            event_id=f"p{number}.{step}",
            at=at + timedelta(minutes=step + 1),
            lat=rng.uniform(40.6, 40.85),
            lon=rng.uniform(-74.02, -73.8),
            **ride,
        )
        for step in range(positions)
    ]
    ended = at + timedelta(minutes=10)
    return [
        RideRequested(event_id=f"q{number}", at=at, **zones, **ride),
        RideStarted(event_id=f"s{number}", at=at, **ride),
        *moves,
        RideCompleted(event_id=f"c{number}", at=ended, duration_min=10.0, fare_usd=12.0, **ride),
    ]


def lives(count: int, seed: int = 7, under_way: int = 20) -> list[Event]:
    """Whole rides, some of them under way at the same time."""
    rng = random.Random(seed)
    events: list[Event] = []
    for first in range(0, count, under_way):
        some = [life(number, rng) for number in range(first, min(first + under_way, count))]
        events += [event for step in zip(*some, strict=True) for event in step]
    return events


@dataclass
class Desk:
    """Where runs are begun and worked on."""

    settings: Settings
    replays: Replays
    directory: Path
    pace: Pace = field(default_factory=lambda: Pace(None))

    def lives(self, count: int, seed: int = 7) -> list[Event]:
        """Whole rides, some of them under way at the same time."""
        return lives(count, seed)

    def outgoing(self, events: Sequence[Event], topic: str) -> list[Outgoing]:
        return [outgoing(event, topic) for event in events]

    def topics(self, name: str) -> Any:
        """The test's own topic, as what every agent reads."""

        def read(agent: Agent) -> list[Topic]:
            ours: list[Topic] = [replace(UPLOADS if agent.name == "duplicate" else RIDES, name=name)]
            return ours

        return read

    def source(self, topic: str, most: int = 64, **wanted: Any) -> TopicSource:
        return TopicSource(self.settings, TopicRange(**wanted), most, self.topics(topic))

    async def begun(self, run: str, agent: str, source: Source) -> Book:
        book = Book(self.replays, run)
        plan = Plan(chosen=(Chosen(agent, "1"),), source=TopicRange())
        book.begin(plan, await cut(plan, source))
        return book

    def worker(self, book: Book, agent: str, source: Source, target: Target | None = None) -> Worker:
        ready = {agent: load(Chosen(agent, "1"), Registry(shipped_root()))}
        private = self.directory / "private" / book.run
        return Worker(book, source, ready, target or StoreTarget(book), private, Pace(None))

    async def done(self, run: str, agent: str, source: Source) -> list[tuple[Any, ...]]:
        """A run to its end: what it kept."""
        book = await self.begun(run, agent, source)
        await self.worker(book, agent, source).run()
        return self.kept(run)

    def kept(self, run: str) -> list[tuple[Any, ...]]:
        """(partition, offset, event id, stage, value, detail) in order."""
        names = ("partition", "offset", "event_id", "stage", "value", "detail")
        query = select(*(replayed.c[name] for name in names)).join(lanes, lanes.c.lane == replayed.c.lane)
        with self.replays.connected() as connection:
            return sorted(tuple(row) for row in connection.execute(query.where(lanes.c.run == run)))


@pytest.fixture
def desk(settings: Settings, tmp_path: Path) -> Iterator[Desk]:
    replays = Replays.open(settings.database_url)
    yield Desk(settings, replays, tmp_path)
    replays.close()
