"""The gateway: how its parts are put together (`create_app`) and served (`serve`).

HTTP in -> `routes` -> `outbox` -> Kafka; Redis -> `hub` -> `follow` -> `sockets` -> the user; the store -> `reads`.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from socket import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from app import agent, topic_admin
from app.asking.asker import Asks, kafka_asker
from app.bus import KafkaProducer, Producer
from app.costs import Costs
from app.errors import ConfigurationError, MillraceError, ServiceUnavailable
from app.live_log import LiveLog, connect
from app.modes.consuming.lifecycle import settle
from app.registry import open_registry
from app.settings import Settings
from app.store import Store
from app.telemetry import setup_logging
from app.tokens import Tokens, read_secret
from gateway import asyncapi, openapi, problems
from gateway.auth import Door
from gateway.batch import PLOTLY, BatchRoutes
from gateway.batch_reads import BatchReads
from gateway.books import Books
from gateway.estimates import Estimates
from gateway.follow import Limits, Live
from gateway.guard import GuardedWebSocket, guarded_http
from gateway.hub import Hub
from gateway.inference import InferenceRoutes
from gateway.metrics import Measured, Metrics
from gateway.models import Models
from gateway.outbox import Outbox
from gateway.predict import PredictRoutes
from gateway.reads import Reads
from gateway.routes import DecisionRoutes, EventRoutes
from gateway.sockets import LiveDoor
from gateway.status import Status
from gateway.system import STATIC, SWAGGER, DemoTokens, SystemRoutes
from gateway.transactions import TransactionRoutes
from gateway.verdicts import Verdicts, answering

CONNECTIONS = 12_000  # above what the live channel takes, below the usual hard limit on open files
WS_MESSAGE_BYTES = 4096  # clients have nothing to say
GRACE_S = 10
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),  # the live channel takes its token in the query
]
"""Of every response; uvicorn's own and the websocket's handshake are responses, too."""
TOPICS_WITHIN = timedelta(seconds=10)  # then we serve without having seen them
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gateway:
    """The parts of one gateway process, each made once.

    Attributes:
        fallen: set when one of its tasks ended by itself: the process is of no use any more.
    """

    settings: Settings
    tokens: Tokens
    hub: Hub
    outbox: Outbox
    asks: Asks
    reads: Reads
    batch: BatchReads
    live: Live
    status: Status
    fallen: asyncio.Event

    def tasks(self) -> dict[str, Coroutine[object, object, None]]:
        return {"hub": self.hub.run(), "outbox": self.outbox.run(), "status": self.status.run()}


def create_app(
    settings: Settings, producer: Producer, store: Store, asks: Asks, limits: Limits | None = None
) -> FastAPI:
    """The application. `producer`, `store` and `asks` stay their owner's; everything else lives as long as its lifespan.

    Raises `ConfigurationError` when there is no address of Kafka or Redis, or no secret where one is needed.
    """
    if settings.kafka is None or settings.redis is None:
        raise ConfigurationError("the gateway needs MILLRACE_KAFKA and MILLRACE_REDIS; `millrace up` starts its own")
    redis = connect(settings.redis)
    hub, costs, outbox = Hub(settings.redis), Costs.of(settings), Outbox(producer)
    reads = Reads(store, costs)
    live = Live(hub, LiveLog(redis), reads.snapshot, limits or Limits())
    status = Status(Books(settings.kafka), reads, redis.ping, lambda: live.connections)
    batch = BatchReads(settings.database_url, store, costs)
    tokens, fallen = Tokens(read_secret(settings)), asyncio.Event()
    gateway = Gateway(settings, tokens, hub, outbox, asks, reads, batch, live, status, fallen)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with _running(gateway):
            yield
        await redis.aclose()
        batch.close()

    app = FastAPI(title="Millrace", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.gateway = gateway
    app.openapi = openapi.document  # type: ignore[method-assign]  # FastAPI's documented way to give it one
    app.add_exception_handler(Exception, problems.handle)
    for error in (MillraceError, HTTPException):
        app.add_exception_handler(error, problems.handle)
    _add_routes(app, gateway)
    return app


def _add_routes(app: FastAPI, gateway: Gateway) -> None:
    door, live = Door(gateway.tokens), gateway.live
    metrics = Metrics(lambda: live.connections, lambda: gateway.outbox.held, gateway.reads.cards)
    origins = frozenset(gateway.settings.origins.replace(",", " ").split())
    estimates = Estimates(gateway.asks, gateway.settings.first_estimate)
    app.include_router(EventRoutes(door, gateway.outbox, estimates).router())
    app.include_router(TransactionRoutes(door, gateway.outbox).router())
    verdicts = Verdicts(gateway.outbox, gateway.hub, gateway.reads, answering)
    app.include_router(PredictRoutes(door, gateway.asks, verdicts).router())
    app.include_router(DecisionRoutes(door, gateway.reads).router())
    app.include_router(LiveDoor(live, door, origins).router())
    system = SystemRoutes(door, gateway.status, gateway.fallen)
    app.include_router(system.router())
    models = Models(open_registry(gateway.settings))
    app.include_router(InferenceRoutes(door, models, gateway.asks, system.alive, system.ready).router())
    app.include_router(BatchRoutes(door, gateway.batch).router())
    if gateway.settings.demo:
        app.add_route("/v1/demo/token", DemoTokens(gateway.tokens).endpoint)
    app.add_route("/asyncapi.json", asyncapi.endpoint)
    app.add_route("/metrics", metrics.endpoint)
    app.mount("/static/plotly", StaticFiles(directory=PLOTLY))
    app.mount("/static/swagger", StaticFiles(directory=SWAGGER))
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(Measured, metrics=metrics)


@contextlib.asynccontextmanager
async def _running(gateway: Gateway) -> AsyncIterator[None]:
    """The gateway's tasks, as long as the application lives."""

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            logger.critical("the gateway's task %s ended", task.get_name(), exc_info=task.exception())
            gateway.fallen.set()

    tasks = [asyncio.create_task(work, name=name) for name, work in gateway.tasks().items()]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Server(uvicorn.Server):
    """Uvicorn that says good-bye: live connections are told to connect again elsewhere before they are closed."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    @property
    def fallen(self) -> bool:
        """Whether it ended because one of the gateway's tasks did."""
        return self._gateway.fallen.is_set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the handler's signature
        """As uvicorn's, which in the end raises the signal again: who ends as it was told to would seem to have failed."""
        self.force_exit |= self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.fallen

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._gateway.live.draining.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S / 2):
                await self._gateway.live.drained()
        await super().shutdown(sockets)


def server(settings: Settings, producer: Producer, store: Store, asks: Asks, limits: Limits | None = None) -> Server:
    """A server of the application, on `settings.host` and `settings.port`."""
    limits = limits or Limits()
    app = create_app(settings, producer, store, asks, limits)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="none",  # whoever runs us has chosen it
        http=guarded_http(limits.request_s),
        ws=GuardedWebSocket,
        ws_max_size=WS_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # half a megabyte per connection for messages of one kilobyte
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
        headers=HEADERS,
        server_header=False,
        access_log=False,
        log_config=None,
        proxy_headers=False,
    )
    return Server(config, app.state.gateway)


async def serve(settings: Settings) -> None:
    """Serve until cancelled or told to end (SIGTERM, SIGINT). Raises `MillraceError` when a part cannot be had."""
    if settings.kafka is None:
        raise ConfigurationError("MILLRACE_KAFKA is not set; `millrace up` starts a broker of its own")
    setup_logging(settings.log_level)
    read_secret(settings)  # first, for it may be why we must not start
    try:
        await topic_admin.ensure(settings, within=TOPICS_WITHIN)
    except ServiceUnavailable as error:  # what was decided can be served meanwhile; what comes in is answered with 503
        logger.warning("serving without having seen the topics: %s", error)
    store = await asyncio.to_thread(Store.open, settings.database_url)
    producer = KafkaProducer(settings.kafka)
    asker = kafka_asker(settings, agent.names())
    await asker.start()
    running = server(settings, producer, store, asker)
    settle()
    try:
        await running.serve()
    finally:
        await asker.close()
        await producer.close()
        store.close()
    if running.fallen:
        raise MillraceError("the gateway has lost one of its tasks and ended; the log says why")
