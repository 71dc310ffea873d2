"""The bank of the demo: its past goes onto the topics, what comes then through the gateway."""

import asyncio
from datetime import UTC, datetime, timedelta

from aiohttp import web

from app.codec import Decoder
from app.events import AnyTransaction, FraudReported, TransactionMade
from app.testing import MemoryBus
from app.topics import CHARGEBACKS, TRANSACTIONS
from simulator import small_bank
from simulator.badges import Badges
from simulator.scenario import Scenario
from simulator.small_bank import CARDS, PAST_DAYS

NOW = datetime(2026, 3, 2, 15, 30, 20, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
events: Decoder[AnyTransaction] = Decoder(AnyTransaction)


async def test_the_past_is_on_the_topics_before_anything_goes_through_the_gateway() -> None:
    bus, posted, on_topics = MemoryBus(), list[TransactionMade](), list[int]()

    async def post(request: web.Request) -> web.Response:
        event = events.decode(await request.read())
        if isinstance(event, TransactionMade):
            posted.append(event)
        on_topics.append(sum(len(bus.records(topic.name)) for topic in TRANSACTIONS.values()))
        return web.json_response({}, status=202)

    app = web.Application()
    app.router.add_get("/health/live", post_nothing)
    app.router.add_post("/{tail:.*}", post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    bank = small_bank.options("r", NOW, rate=400.0)
    trading = asyncio.create_task(small_bank.trade(bank, site.name, Badges(b"s" * 32), bus, past_s=0.1))
    async with asyncio.timeout(20):
        while len(posted) < 50:  # noqa: ASYNC110  # what it waits for is told to the server, which signals nobody
            await asyncio.sleep(0.01)
    trading.cancel()
    await asyncio.gather(trading, return_exceptions=True)
    await runner.cleanup()
    past = [events.decode(record.value) for topic in TRANSACTIONS.values() for record in bus.records(topic.name)]
    assert set(on_topics) == {len(past)}
    assert abs(len(past) - PAST_DAYS * CARDS * 2) < 600  # a Poisson process
    assert max(event.at for event in past) <= min(event.at for event in posted)
    assert MIDNIGHT - timedelta(hours=12) < min(event.at for event in posted) < MIDNIGHT + timedelta(hours=12)
    reports = [events.decode(record.value) for record in bus.records(CHARGEBACKS.name)]
    assert len(reports) > 5
    assert {type(report) for report in reports} == {FraudReported}


async def post_nothing(_: web.Request) -> web.Response:
    return web.Response()


def test_a_bank_of_another_minute_has_other_cards() -> None:
    holders = [set(Scenario(small_bank.options("r", NOW + timedelta(seconds=s), 8.0)).users) for s in (0, 30, 60)]
    assert holders[0] == holders[1]
    assert not holders[0] & holders[2]
    assert all(len(name.removeprefix("holder-")) == 8 for name in holders[0])
