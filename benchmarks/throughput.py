"""One worker on a backlog: our loop beside the same model in a plain Faust agent, in the same run.

    python -m benchmarks.throughput --events 60000

The plain agent is what Faust's own guide shows: a `Record` per event, features and one `predict` per event, one `send`
per answer (not awaiting delivery, so it promises less). Each side runs in a process of its own, one after the other.
"""

import argparse
import asyncio
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import uvloop

from app import embedded, topic_admin
from app.agent import Model, find
from app.boosting import LightGBMModel
from app.bus import Delivered, KafkaProducer, Outgoing
from app.events import Place, RideRequested
from app.modes.consuming.lifecycle import settle, together
from app.modes.stream import Loop, load
from app.registry import open_registry
from app.settings import Settings, read_settings
from app.testing import START, outgoing
from app.topics import RIDES, state_topic

_CHUNK = 4000


@dataclass(frozen=True)
class Measured:
    """What one worker did, from its first record to its last answer."""

    events: int
    seconds: float
    cpu_s: float
    rss_mb: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_per_100k_s(self) -> float:
        return self.cpu_s / self.events * 100_000


class _Meter:
    """Starts with the first record, ends with the last answer."""

    def __init__(self, expected: int) -> None:
        self._expected, self._count = expected, 0
        self._started: tuple[float, float] | None = None
        self.result: asyncio.Future[Measured] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        self._started = self._started or (time.perf_counter(), time.process_time())

    def answered(self, count: int) -> None:
        self._count += count
        if self._count >= self._expected and self._started is not None and not self.result.done():
            wall, cpu = self._started
            rss_mb = psutil.Process().memory_info().rss / 2**20
            self.result.set_result(
                Measured(self._count, time.perf_counter() - wall, time.process_time() - cpu, round(rss_mb))
            )


class _MeteredProducer(KafkaProducer):
    def __init__(self, brokers: str, meter: _Meter) -> None:
        super().__init__(brokers)
        self._meter = meter

    async def send(self, records: Sequence[Outgoing]) -> Sequence[Delivered]:
        delivered = await super().send(records)
        self._meter.answered(len(delivered))
        return delivered


class _Booster:
    """A booster asked as LightGBM's guide shows; the quick way for a single row is ours (`app.boosting`)."""

    def __init__(self, model: LightGBMModel) -> None:
        self._booster = model._booster  # noqa: SLF001 - the very same

    def predict(self, features: Any) -> Any:
        return self._booster.predict(features, num_threads=1)


def _plain(model: Model) -> Model:
    """The same model on plain boosters."""
    if isinstance(model, LightGBMModel):
        return _Booster(model)
    plain = copy.copy(model)
    for name, part in vars(model).items():
        setattr(plain, name, _plain(part) if isinstance(part, LightGBMModel) else part)
    return plain


async def ours(settings: Settings, topic: str, count: int, name: str) -> Measured:
    """Our loop, as a worker runs it."""
    meter = _Meter(count)
    producer = _MeteredProducer(str(settings.kafka), meter)
    made = load(find(name), open_registry(settings))
    fresh = replace(made, agent=replace(made.agent, name=f"{made.agent.name}.{uuid.uuid4().hex[:8]}"))
    if fresh.agent.state is not None:
        await topic_admin.ensure(settings, [state_topic(fresh.agent.name)])
    loop = Loop(fresh, [replace(RIDES, name=topic)], producer, settings)
    await loop.warm()
    settle()

    async def measured() -> None:
        while not loop.group.app.started or not loop.group.app.progress.in_hand():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.001)
        meter.begin()
        await meter.result

    await together(loop.run(), measured())
    await producer.close()
    return meter.result.result()


async def plain_faust(settings: Settings, topic: str, count: int, name: str) -> Measured:
    """The same model and features in a Faust agent written the usual way."""
    import faust

    class Ride(faust.Record, serializer="json"):
        type: str
        event_id: str
        user_id: str
        at: str
        ride_id: str
        pickup: dict[str, Any]
        dropoff: dict[str, Any]
        passengers: int = 1

    class Answer(faust.Record, serializer="json"):
        event_id: str
        user_id: str
        model: str
        value: float

    meter, made = _Meter(count), load(find(name), open_registry(settings))
    model = _plain(made.model)
    state = made.agent.state() if made.agent.state is not None else None
    app = faust.App(
        f"plain.{uuid.uuid4().hex[:8]}",
        broker=f"aiokafka://{settings.kafka}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        datadir=tempfile.mkdtemp(),
    )
    answers = app.topic("predictions", value_type=Answer)

    async def score(rides: Any) -> None:
        async for ride in rides:
            meter.begin()
            event = msgspec.convert(ride.asdict(), RideRequested)
            scores = made.agent.score(model, [event], state)
            answer = Answer(ride.event_id, ride.user_id, made.agent.name, float(scores.values[0]))
            await answers.send(key=ride.user_id, value=answer)
            meter.answered(1)

    app.agent(app.topic(topic, value_type=Ride))(score)
    await app.start()
    result = await meter.result
    await app.stop()
    return result


async def preload(settings: Settings, topic: str, count: int) -> None:
    """Ride requests of a February, between the zones of New York."""
    await topic_admin.ensure(settings, [replace(RIDES, name=topic)])
    producer = KafkaProducer(str(settings.kafka))
    await preload_topic(producer, random.Random(7), topic, count)
    await producer.close()


async def preload_topic(producer: KafkaProducer, rng: random.Random, topic: str, count: int) -> None:
    """So many ride requests onto a topic that exists."""
    for start in range(0, count, _CHUNK):
        await producer.send([_ride(rng, number, topic) for number in range(start, min(start + _CHUNK, count))])


def _ride(rng: random.Random, number: int, topic: str) -> Outgoing:
    ride = RideRequested(
        event_id=uuid.UUID(int=rng.getrandbits(128)).hex,
        user_id=f"user-{rng.randrange(5000)}",
        at=START + timedelta(seconds=number * 0.5),
        ride_id=f"ride-{number}",
        pickup=Place(zone=rng.randint(1, 263)),
        dropoff=Place(zone=rng.randint(1, 263)),
        passengers=rng.choice((1, 1, 1, 1, 2, 2, 3, 5)),
    )
    return outgoing(ride, topic)


def measure(side: str, settings: Settings, topic: str, count: int, name: str) -> Measured:
    """Run one side in a process of its own, so that neither's memory or imports are counted to the other."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--side", side, "--topic", topic, "--agent", name]
    environment = {**os.environ, "MILLRACE_KAFKA": str(settings.kafka), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--events", str(count)], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=600
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def compare(settings: Settings, count: int, baseline: int, name: str) -> dict[str, Any]:
    """Both sides on topics of their own; prints a table and returns the figures."""
    run = uuid.uuid4().hex[:8]
    figures = {}
    for side, events in (("ours", count), ("faust", baseline)):
        topic = f"bench.{side}.{run}"
        uvloop.run(preload(settings, topic, events))
        figures[side] = measure(side, settings, topic, events, name)
    print(f"{'':14}{'events/s':>10}{'CPU s/100k':>12}{'RSS MB':>8}{'events':>9}")
    for side, found in figures.items():
        row = f"{found.rate:>10,.0f}{found.cpu_per_100k_s:>12.1f}{found.rss_mb:>8.0f}{found.events:>9,}"
        print(f"{'this loop' if side == 'ours' else 'plain Faust':14}{row}")
    ratio = figures["ours"].rate / figures["faust"].rate
    print(f"ratio {ratio:.1f} (aim: 30)")
    return {"ratio": ratio, **{side: asdict(found) for side, found in figures.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=60_000, help="backlog of our loop")
    parser.add_argument("--baseline-events", type=int, default=10_000, help="backlog of the plain Faust agent")
    parser.add_argument("--agent", default="duration", help="which model")
    parser.add_argument("--side", choices=["ours", "faust"], help=argparse.SUPPRESS)
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    settings = read_settings()
    if chosen.side:
        side = ours if chosen.side == "ours" else plain_faust
        print(json.dumps(asdict(uvloop.run(side(settings, chosen.topic, chosen.events, chosen.agent)))))
        os._exit(0)  # what Faust leaves running is of no interest
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        fresh = settings.model_copy(update={"data_dir": Path(directory)})
        with embedded.services(fresh) as resolved:
            uvloop.run(topic_admin.ensure(resolved))
            compare(resolved, chosen.events, chosen.baseline_events, chosen.agent)


if __name__ == "__main__":
    main()
