"""A gateway under test: in process for the HTTP calls, served by uvicorn where connections matter."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app import topic_admin
from app.asking.asker import Asks
from app.bus import KafkaProducer, Producer
from app.decisions import Decision, Figure
from app.live import LivePublisher, LiveUpdate
from app.settings import Settings
from app.sql.journal import Journal
from app.sql.ledger import Case, Entry, Made, Position
from app.store import Store
from app.testing import MemoryAsker, MemoryBus
from app.tokens import OPERATOR_SCOPES, USER_SCOPES, mint
from gateway.follow import Limits
from gateway.main import Gateway, Server, server

collect_ignore = ["kserve_client.py"]  # a script of another environment

Serve = Callable[..., AbstractAsyncContextManager["Served"]]


class Served:
    """A running gateway and how to talk to it."""

    def __init__(self, settings: Settings, running: Server, gateway: Gateway, port: int) -> None:
        self.settings, self.running, self.gateway, self.port = settings, running, gateway, port
        self.store: Store
        self.url = f"http://127.0.0.1:{port}"

    def token(self, user_id: str, *, operator: bool = False, ttl: timedelta = timedelta(hours=1)) -> str:
        return mint(self.settings, user_id, OPERATOR_SCOPES if operator else USER_SCOPES, ttl)

    def live(self, user_id: str, last_id: str | None = None, **options: object) -> str:
        resume = f"&last_id={last_id}" if last_id else ""
        extra = "&all=1" if options.get("operator") else ""
        return f"ws://127.0.0.1:{self.port}/v1/live?token={self.token(user_id, **options)}{resume}{extra}"  # type: ignore[arg-type]  # keywords of token


@asynccontextmanager
async def _serve(settings: Settings, producer: Producer, asks: Asks, limits: Limits | None) -> AsyncIterator[Served]:
    store = Store.open(settings.database_url)
    running = server(settings, producer, store, asks, limits)
    task = asyncio.create_task(running._serve())  # without uvicorn's signal handlers: the signals are pytest's
    try:
        await eventually(lambda: running.started or task.done())
        served = Served(settings, running, running._gateway, running.servers[0].sockets[0].getsockname()[1])
        await eventually(lambda: served.gateway.hub.connected)
        served.store = store
        yield served
    finally:
        running.should_exit = True
        await task
        store.close()


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
def asker() -> MemoryAsker:
    return MemoryAsker()


@pytest.fixture
def serve(settings: Settings, bus: MemoryBus, asker: MemoryAsker) -> Serve:
    """`async with serve(limits=..., producer=..., demo=True)`: any number of gateways over one Redis and one database."""

    def start(
        limits: Limits | None = None, producer: Producer = bus, asks: Asks = asker, **overrides: object
    ) -> AbstractAsyncContextManager[Served]:
        return _serve(settings.model_copy(update={"port": 0, **overrides}), producer, asks, limits)

    return start


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    async with serve() as running:
        yield running


@pytest.fixture
async def client(served: Served, namespace: str) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks as the user `namespace`."""
    headers = {"Authorization": f"Bearer {served.token(namespace)}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=10) as made:
        yield made


@pytest.fixture
async def kafka(settings: Settings) -> AsyncIterator[KafkaProducer]:
    """The real one, on topics that exist."""
    await topic_admin.ensure(settings)
    producer = KafkaProducer(settings.kafka or "")
    yield producer
    await producer.close()


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Awaitable[None]]:
    """`await eventually(condition)`: wait until it holds."""
    return eventually


async def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)


def decision(user_id: str, name: str) -> Decision:
    now = datetime.now(UTC)
    return Decision(
        decision_id=f"{name}.0",
        subject_id=f"ride-{name}",
        user_id=user_id,
        kind="ride",
        event_id=name,
        event_at=now,
        at=now,
        action="quote",
        reasons=("it is a ride",),
        predictions=(Figure(model="eta", version="1", value=7.5, unit="min"),),
    )


@pytest.fixture
def decide(settings: Settings) -> Callable[[str, str], Decision]:
    """Writes a decision down, as the decision worker does: `decide(user_id, name)`, on the subject `ride-<name>`."""

    def write(user_id: str, name: str) -> Decision:
        made = decision(user_id, name)
        case = Case(
            event_id=name,
            subject_id=made.subject_id,
            user_id=user_id,
            kind="ride",
            event_at=made.event_at,
            position=Position("rides", 0, 1, 0),
            seen_at=made.at,
        )
        journal = Journal.open(settings.database_url)
        journal.save(Entry(made.at, cases={case.event_key: case}, decisions=[Made(made, 0)]))
        journal.close()
        return made

    return write


@pytest.fixture
async def tell(settings: Settings) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Publishes decisions on the live channel: `await tell(user_id, *names)`."""
    publisher = LivePublisher(settings.redis or "")

    async def publish(user_id: str, *names: str) -> None:
        await publisher.publish([LiveUpdate(user_id, decision(user_id, name)) for name in names])

    yield publish
    await publisher.close()
