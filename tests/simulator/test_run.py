"""A scenario through the real gateway, Kafka and Redis; only the deciding is done by the test itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from app.codec import Decoder
from app.decisions import Decision, Figure
from app.events import OPENING, AnyEvent, AnyRide, AnyUpload
from app.live import LivePublisher, LiveUpdate
from app.services.process import free_port
from app.settings import Settings
from app.tokens import read_secret
from gateway.main import serve
from simulator.badges import Badges
from simulator.client import LiveClient
from simulator.errors import AccessRefused, NoGateway
from simulator.run import replay
from simulator.scenario import Options, Scenario

decoder: Decoder[AnyEvent] = Decoder(AnyRide | AnyUpload)


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[tuple[str, Settings]]:
    """The real one, on a port of its own."""
    settings = settings.model_copy(update={"port": free_port()})
    url = f"http://127.0.0.1:{settings.port}"
    serving = asyncio.create_task(serve(settings))
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while not await answers(client, url):
            assert not serving.done()
    yield url, settings
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health/ready", timeout=5)).status_code == 200
    except httpx.TransportError:
        await asyncio.sleep(0.05)
        return False


@asynccontextmanager
async def deciding(settings: Settings, run: str) -> AsyncIterator[None]:
    """Decides every opening event of a run, as soon as it is on its topic: ten minutes for every ride."""
    consumer = AIOKafkaConsumer("rides", "uploads", bootstrap_servers=settings.kafka, auto_offset_reset="earliest")
    publisher = LivePublisher(settings.redis or "")
    await consumer.start()

    async def decide() -> None:
        async for record in consumer:
            if record.value and f"-{run}-".encode() in record.value:
                event = decoder.decode(record.value)
                if isinstance(event, OPENING):
                    await publisher.publish([LiveUpdate(event.user_id, decision(event))])

    task = asyncio.create_task(decide())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()
        await publisher.close()


def decision(event: AnyEvent) -> Decision:
    now = datetime.now(UTC)
    return Decision(
        decision_id=f"{event.event_id}.0", subject_id=event.subject_id, user_id=event.user_id, kind=event.kind,
        event_id=event.event_id, event_at=event.at, at=now, action="quote" if event.kind == "ride" else "keep", reasons=("test",),
        predictions=(Figure(model="duration", version="1", value=10.0, unit="min"),),
    )  # fmt: skip


async def test_a_run_is_sent_heard_and_reported(gateway: tuple[str, Settings], namespace: str) -> None:
    url, settings = gateway
    options = Options(run=namespace, start=datetime.now(UTC), rate=1000.0, speed=100_000.0, users=8, count=30)
    async with deciding(settings, namespace), asyncio.timeout(50):
        report = await replay(Scenario(options), url, Badges(read_secret(settings)), run=namespace, settling_s=0)
    assert report.whole
    assert report.decided == report.asked >= 30
    assert report.refused == {}
    assert report.latency_ms is not None
    (error,) = report.errors
    assert error.n == report.events["RideCompleted"]
    assert error.mae > 0


async def test_a_wrong_secret_and_a_wrong_address_are_said(gateway: tuple[str, Settings]) -> None:
    url, settings = gateway
    options = Options(run="x", start=datetime.now(UTC), users=2, count=1)
    with pytest.raises(AccessRefused):
        await replay(Scenario(options), url, Badges(b"another secret of 32 bytes or so!"), run="x")
    with pytest.raises(NoGateway):
        await replay(Scenario(options), "http://127.0.0.1:1", Badges(read_secret(settings)), run="x")


async def test_a_client_resumes_at_the_real_gateway(gateway: tuple[str, Settings], namespace: str) -> None:
    url, settings = gateway
    badges, user = Badges(read_secret(settings)), f"u-{namespace}"
    publisher = LivePublisher(settings.redis or "")

    async def hear(client: LiveClient, count: int) -> list[str]:
        heard: list[str] = []
        async with asyncio.timeout(20), aclosing(client.messages()) as messages:
            async for message in messages:
                heard.append(getattr(message, "event_id", "connected"))
                if len(heard) == count:
                    break
        return heard

    def about(n: int) -> LiveUpdate:
        options = Options(run=namespace, start=datetime.now(UTC), what="uploads", users=1, count=5)
        event = [planned.event for planned in Scenario(options).plan()][n]
        return LiveUpdate(user, decision(event))

    first = LiveClient(url, lambda: badges.of(user))
    listening = asyncio.create_task(hear(first, 2))
    while first.last_id is None:  # noqa: ASYNC110  # the client tells nobody
        await asyncio.sleep(0.01)
    await publisher.publish([about(0)])
    assert len(await listening) == 2
    await publisher.publish([about(1), about(2)])
    second = LiveClient(url, lambda: badges.of(user), last_id=first.last_id)
    assert len(set(await hear(second, 3))) == 3
    assert (second.repeats, second.unrecovered) == (0, 0)
    await publisher.close()
