"""A stage on the real broker: a topic of the test's own, what goes in, and what came out of it."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from app import topic_admin
from app.bus import KafkaProducer, Outgoing, Producer
from app.codec import Decoder, Record, header
from app.modes.consuming.read import reader
from app.modes.stream import Loop, Ready
from app.predictions import Prediction
from app.settings import Settings
from app.sql.runs import Runs
from app.testing import Events
from app.topics import CARD_PREDICTIONS, DEAD_LETTERS, PREDICTIONS, RIDES, Topic, state_topic

WORKER = Path(__file__).parent / "worker.py"
_decoder = Decoder[Prediction](Prediction)


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    """Return once the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after {within_s:g} s")
        await asyncio.sleep(0.02)


@dataclass
class Stage:
    settings: Settings
    name: str
    producer: KafkaProducer
    topic: Topic
    events: Events
    _starts: dict[tuple[str, int], int] = field(default_factory=dict)
    _kept: dict[str, list[Record]] = field(default_factory=dict)

    async def put(self, records: Sequence[Outgoing]) -> None:
        await self.producer.send(records)

    async def mark(self) -> None:
        """Everything that lies on the shared topics so far is somebody else's."""
        for topic in (PREDICTIONS.name, CARD_PREDICTIONS.name, DEAD_LETTERS.name):
            for partition in range(self.settings.partitions):
                async with reader(str(self.settings.kafka), topic, partition) as source:
                    self._starts[topic, partition] = (await source.bounds())[1]

    async def read(self, topic: str) -> list[Record]:
        """What came since the last look, added to what was seen before."""
        kept = self._kept.setdefault(topic, [])
        for partition in range(self.settings.partitions):
            async with reader(str(self.settings.kafka), topic, partition) as source:
                _, end = await source.bounds()
                async for records in source.records(self._starts.get((topic, partition), 0), end):
                    kept += records
                self._starts[topic, partition] = end
        return kept

    async def answers(self) -> list[Prediction]:
        """Every prediction of this test's agent, in order per partition, duplicates included."""
        predictions = [_decoder.decode(record.value) for record in await self.read(PREDICTIONS.name)]
        return [prediction for prediction in predictions if prediction.model == self.name]

    async def dead(self) -> list[Record]:
        """Every dead letter of this test's agent."""
        return [
            record for record in await self.read(DEAD_LETTERS.name) if header(record.headers, "dlq.agent") == self.name
        ]

    async def committed(self) -> int:
        """How many records the group has committed, over all partitions."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka)
        await client.start()
        try:
            offsets = await client.list_consumer_group_offsets(f"millrace.{self.name}")
            return sum(found.offset for found in offsets.values())
        except GroupCoordinatorNotAvailableError:
            return 0  # of a broker this young, no group has committed anything
        finally:
            await client.close()

    def loop(self, agent: Any, model: Any, producer: Producer | None = None, **settings: Any) -> Loop:
        changed = self.settings.model_copy(update=settings)
        return Loop(Ready(agent, model, "1"), [self.topic], producer or self.producer, changed)

    def loop_of(self, ready: Ready, topics: Sequence[Topic], hears: Sequence[Topic] = ()) -> Loop:
        return Loop(ready, topics, self.producer, self.settings, hears=hears)

    @asynccontextmanager
    async def running(self, loop: Loop) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(loop.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def finished(self, loop: Loop, count: int) -> None:
        """Run the loop until so many records are committed."""
        async with self.running(loop) as task:
            await self.has_committed(count)
            assert not task.done()

    async def has_committed(self, count: int) -> None:
        """Return once the group has committed so many records, the marks of transactions among them."""

        async def done() -> bool:
            return await self.committed() == count

        await eventually(done)


@pytest_asyncio.fixture
async def stage(settings: Settings, namespace: str) -> AsyncIterator[Stage]:
    topic = replace(RIDES, name=f"rides.{namespace}")
    await topic_admin.ensure(settings, [topic, state_topic(namespace)])
    quick = settings.model_copy(update={"score_timeout": timedelta(seconds=0.3)})
    producer = KafkaProducer(str(settings.kafka))
    made = Stage(quick, namespace, producer, topic, Events(namespace))
    await made.mark()
    yield made
    await producer.close()


class Foreign:
    """Somebody else's producer, which writes in transactions, to partition 0 of the stage's topic."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.producer = AIOKafkaProducer(bootstrap_servers=stage.settings.kafka, transactional_id=stage.name)

    async def write(self, *values: bytes) -> None:
        """Write in a transaction that stays open."""
        await self.producer.begin_transaction()
        for value in values:
            await self.producer.send_and_wait(self._stage.topic.name, value, b"k", 0)

    async def commit(self, *values: bytes) -> None:
        await self.write(*values)
        await self.producer.commit_transaction()

    async def abort(self, *values: bytes) -> None:
        await self.write(*values)
        await self.producer.abort_transaction()

    async def ended(self, end: int) -> None:
        """Return once the log ends there: the broker marks the end of a transaction when it has time."""

        async def there() -> bool:
            async with reader(str(self._stage.settings.kafka), self._stage.topic.name, 0) as source:
                return (await source.bounds())[1] == end

        await eventually(there)


@pytest_asyncio.fixture
async def foreign(stage: Stage) -> AsyncIterator[Foreign]:
    made = Foreign(stage)
    async with made.producer:
        yield made


@pytest.fixture(scope="session")
def worker() -> ModuleType:
    """The test agents, as the worker process has them."""
    spec = importlib.util.spec_from_file_location("loop_test_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start_worker(stage: Stage) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start worker processes of a kind; what is left of them is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(WORKER), str(stage.settings.kafka), stage.topic.name, stage.name, kind]
        started.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def runs(database: str) -> Iterator[Runs]:
    """The book of scheduled runs, empty."""
    with closing(Runs.open(database, timedelta(seconds=30))) as runs:
        yield runs
