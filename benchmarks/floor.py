"""The floor of the latency benchmark: the hops of the real system with bare aiokafka, and no work in between.

HTTP POST -> produce with acks=all -> five consumers in groups of their own, one small record each -> one joiner that counts
five, produces the decision and publishes it by Redis -> websocket. Speaks enough of the real gateway's protocol for the same
client to measure both. `python -m benchmarks.floor gateway|model NAME|joiner` runs one part; `running` runs all.
"""

import asyncio
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime

import httpx
import jwt
import msgspec
import uvicorn
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.decisions import Figure
from app.live import Connected, LiveDecision
from app.services.process import free_port
from app.settings import Settings, read_settings
from benchmarks.system import SystemNotReady, environment

MODELS = ("a", "b", "c", "d", "e")
RIDES, PREDICTIONS, DECISIONS = "floor.rides", "floor.predictions", "floor.decisions"
POLL_MS = 1000
READY_S = 40.0


class Asked(msgspec.Struct):
    """What the floor reads of a ride request."""

    event_id: str
    ride_id: str
    user_id: str


class Answer(msgspec.Struct):
    """One model's word: nothing but that it was there."""

    model: str
    event_id: str
    ride_id: str
    user_id: str


_asked = msgspec.json.Decoder(Asked)
_answer = msgspec.json.Decoder(Answer)


@asynccontextmanager
async def _producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _records(kafka: str, topic: str, group: str) -> AsyncIterator[list[bytes]]:
    """Values of what has come, a fetch at a time; what came before we joined is not ours."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, group_id=group, auto_offset_reset="latest")
    await consumer.start()
    try:
        while not consumer.assignment():
            await consumer.getmany(timeout_ms=100)
        for partition in consumer.assignment():
            await consumer.position(partition)
        print("joined", flush=True)
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            yield [record.value for records in fetched.values() for record in records]
    finally:
        await consumer.stop()


async def model(settings: Settings, name: str) -> None:
    """Answers every ride with one record."""
    async with _producer(settings.kafka or "") as producer:
        async for values in _records(settings.kafka or "", RIDES, f"floor.{name}"):
            sent = []
            for value in values:
                asked = _asked.decode(value)
                answer = Answer(name, asked.event_id, asked.ride_id, asked.user_id)
                sent.append(await producer.send(PREDICTIONS, msgspec.json.encode(answer), asked.user_id.encode()))
            await asyncio.gather(*sent)


async def joiner(settings: Settings) -> None:
    """Counts to five; then the decision goes to Kafka and to Redis."""
    counts: dict[str, int] = {}
    redis = Redis.from_url(settings.redis or "")
    async with _producer(settings.kafka or "") as producer:
        async for values in _records(settings.kafka or "", PREDICTIONS, "floor.joiner"):
            done = []
            for answer in map(_answer.decode, values):
                counts[answer.event_id] = counts.get(answer.event_id, 0) + 1
                if counts[answer.event_id] == len(MODELS):
                    del counts[answer.event_id]
                    done.append((answer.user_id, msgspec.json.encode(_decision(answer))))
            await asyncio.gather(*[await producer.send(DECISIONS, decision, user.encode()) for user, decision in done])
            for user, decision in done:
                await redis.publish(f"floor:{user}", decision)


def _decision(answer: Answer) -> LiveDecision:
    now = datetime.now(UTC)
    figures = tuple(Figure(model=name, version="1", value=1.0, unit="min") for name in MODELS)
    return LiveDecision(
        at=now,
        subject_id=answer.ride_id,
        kind="ride",
        user_id=answer.user_id,
        event_id=answer.event_id,
        decision_id=f"{answer.event_id}.0",
        action="quote",
        event_at=now,
        reasons=(),
        predictions=figures,
    )


async def gateway(settings: Settings) -> None:
    """Produces what is posted, sends what is published."""
    redis = Redis.from_url(settings.redis or "", max_connections=10_000)  # one per websocket, and they are not hung up
    app = FastAPI()

    async def alive(_: Request) -> Response:
        return Response()

    async def ride(request: Request) -> Response:
        value = await request.body()
        await producer.send_and_wait(RIDES, value, _asked.decode(value).user_id.encode())
        return Response(status_code=202)

    async def live(socket: WebSocket) -> None:
        user = jwt.decode(socket.query_params["token"], options={"verify_signature": False})["sub"]
        async with redis.pubsub() as channel:
            await channel.subscribe(f"floor:{user}")
            await socket.accept()
            hello = Connected(at=datetime.now(UTC), user_id=user, recovered=False)
            await socket.send_text(msgspec.json.encode(hello).decode())
            with suppress(WebSocketDisconnect, RuntimeError):
                async for message in channel.listen():
                    if message["type"] == "message":
                        await socket.send_text(message["data"].decode())

    app.add_route("/v1/rides", ride, methods=["POST"])
    app.add_route("/health/live", alive)
    app.add_api_websocket_route("/v1/live", live)
    async with _producer(settings.kafka or "") as producer:
        print("produces", flush=True)
        config = uvicorn.Config(app, port=settings.port, log_level="warning", access_log=False, ws="websockets-sansio")
        await uvicorn.Server(config).serve()


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """The floor, each part a process of its own as the real system's are; the url of its gateway.

    Raises `SystemNotReady`.
    """
    settings = settings.model_copy(update={"port": free_port()})
    asyncio.run(_topics(settings))
    parts = [["gateway"], ["joiner"], *(["model", name] for name in MODELS)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.floor", *part],
            env=environment(settings),
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in parts
    ]
    try:
        _await_words(processes)
        url = f"http://127.0.0.1:{settings.port}"
        _await_answer(url)
        yield url
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)  # nothing here is worth a farewell
            process.wait()


async def _topics(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        for name in (RIDES, PREDICTIONS, DECISIONS):
            with suppress(TopicAlreadyExistsError):
                await admin.create_topics([NewTopic(name, settings.partitions, settings.replication)])
    finally:
        await admin.close()


def _await_words(processes: Iterable["subprocess.Popen[str]"]) -> None:
    """Wait until each part has said on its standard output that it is ready."""
    deadline = time.monotonic() + READY_S
    for process in processes:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready or not process.stdout.readline():
            raise SystemNotReady(f"a part of the floor did not start: {process.args!r}")


def _await_answer(url: str) -> None:
    """The gateway says that it produces a moment before it listens."""
    deadline = time.monotonic() + READY_S
    while True:
        with suppress(httpx.HTTPError):
            httpx.get(f"{url}/health/live").raise_for_status()
            return
        if time.monotonic() > deadline:
            raise SystemNotReady(f"the floor's gateway does not answer at {url}")
        time.sleep(0.05)


def _main() -> None:
    settings = read_settings()
    match sys.argv[1:]:
        case ["gateway"]:
            uvloop.run(gateway(settings))
        case ["joiner"]:
            uvloop.run(joiner(settings))
        case ["model", name]:
            uvloop.run(model(settings, name))


if __name__ == "__main__":
    _main()
