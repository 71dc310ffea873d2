"""The status is gathered often while somebody looks, and seldom while nobody does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from app import topic_admin
from app.costs import Costs
from app.live_log import connect
from app.services.process import free_port
from app.settings import Settings
from app.store import Store
from gateway.books import Books, Ends
from gateway.reads import Reads
from gateway.status import SERIES, Status

NEVER_S = 600.0


class CountingBooks(Books):
    """The real ones, and how often the ends were asked for."""

    asked = 0

    async def ends(self) -> Ends:
        self.asked += 1
        return await super().ends()


@pytest.fixture
async def books(settings: Settings) -> CountingBooks:
    await topic_admin.ensure(settings)
    return CountingBooks(settings.kafka or "")


@asynccontextmanager
async def _gathering(settings: Settings, books: Books) -> AsyncIterator[Status]:
    """It gathers without a pause worth the name while somebody looks, and never else."""
    store, redis = Store.open(settings.database_url), connect(settings.redis or "")
    reads = Reads(store, Costs.of(settings))
    made = Status(books, reads, redis.ping, lambda: 3, every_s=0.01, idle_s=NEVER_S)
    gathering = asyncio.create_task(made.run())
    async with aclosing(redis):
        yield made
        gathering.cancel()
        await asyncio.wait({gathering})
    store.close()


@pytest.fixture
async def status(settings: Settings, books: CountingBooks, eventually) -> AsyncIterator[Status]:
    async with _gathering(settings, books) as made:
        await eventually(lambda: not made.down)
        yield made


async def test_while_nobody_looks_kafka_is_left_in_peace(status: Status, books: CountingBooks, settings) -> None:
    before, another = books.asked, Books(settings.kafka)
    for _ in range(10):  # as much as many times the pause
        await another.ends()
    await another.close()
    assert books.asked == before
    assert not status.down


async def test_the_first_look_waits_for_a_gathering_of_its_own(status: Status, books: CountingBooks) -> None:
    before = books.asked
    async with asyncio.timeout(NEVER_S / 20):
        told = await status.current()
    assert books.asked > before
    assert told.connections == 3
    assert told.rates.keys() == set(SERIES)


async def test_while_somebody_looks_it_goes_on(status: Status, books: CountingBooks, eventually) -> None:
    await status.current()
    before = books.asked
    await eventually(lambda: books.asked > before + 3)


async def test_a_part_that_is_away_is_named(settings: Settings) -> None:
    async with _gathering(settings, Books(f"127.0.0.1:{free_port()}")) as status:
        assert (await status.current()).away == ("kafka",)


async def test_nothing_is_away_where_everything_answers(status: Status) -> None:
    assert (await status.current()).away == ()
