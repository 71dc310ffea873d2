"""The parts of a card fraud benchmark as child processes, and what they take: CPU and memory by name, ends of topics.

Below `fraud_sustained`, `fraud_backlog` and `fraud_kill`.
"""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from msgspec import Struct

from app import embedded
from app.errors import ServiceUnavailable
from app.settings import Settings
from app.topics import CARD_DECISIONS, CARD_PREDICTIONS, TRANSACTIONS
from benchmarks.system import SystemNotReady, environment
from gateway.books import Books

SOURCES = [topic.name for topic in TRANSACTIONS.values()]
ANSWERS, VERDICTS = CARD_PREDICTIONS.name, CARD_DECISIONS.name
READY_S = 60.0
_STOP_S = 15.0
_ID = b'"event_id":'

Pid = Callable[[], int | None]


class Memory(Struct, frozen=True):
    """Megabytes (2**20 bytes): `pss_mb` counts pages shared by k processes 1/k times."""

    rss_mb: float
    pss_mb: float


class Child:
    """A process we started; `pid` changes when it is started anew."""

    def __init__(self, name: str, words: Sequence[str], settings: Settings) -> None:
        self.name = name
        self._words, self._environment = words, {**environment(settings), "OMP_NUM_THREADS": "1"}
        self._log = settings.data_dir / "logs" / f"{name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self.process = self._spawn()

    def pid(self) -> int | None:
        return self.process.pid if self.process.poll() is None else None

    def again(self) -> None:
        """Start it anew, if it has ended."""
        if self.pid() is None:
            self.process = self._spawn()

    def said(self) -> str:
        """The last words of its log."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing in its log"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(list(self._words), env=self._environment, stdout=log, stderr=log)


@contextmanager
def children(settings: Settings, **commands: Sequence[str]) -> Iterator[dict[str, Child]]:
    """Run these until the context ends."""
    with ExitStack() as stack:
        running = {}
        for name, words in commands.items():
            running[name] = Child(name, words, settings)
            stack.callback(running[name].stop)
        yield running


def worker(within_s: float | None = None, name: str | None = None) -> list[str]:
    """The command of an agent worker: see `fraud_worker`."""
    words = [sys.executable, "-m", "benchmarks.fraud_worker"]
    words += ["--within", str(within_s)] if within_s is not None else []
    return words + (["--as", name] if name else [])


def decision() -> list[str]:
    return [sys.executable, "-m", "cli", "decide", "--cards"]


def broker(settings: Settings) -> Pid:
    """The embedded broker's pid; none where the broker is somebody else's."""

    def pid() -> int | None:
        return next((found.pid for found in embedded.found(settings) if found.part == "kafka"), None)

    return pid


def redis(settings: Settings) -> Pid:
    def pid() -> int | None:
        return next((found.pid for found in embedded.found(settings) if found.part == "redis"), None)

    return pid


class Gauge:
    """CPU and memory of processes by name, their children included."""

    def __init__(self, pids: Mapping[str, Pid]) -> None:
        self._pids = pids

    def cpu_s(self) -> dict[str, float]:
        """User and system time so far."""
        return {name: sum(_cpu_s(process) for process in _family(pid())) for name, pid in self._pids.items()}

    def memory(self) -> dict[str, Memory]:
        found = {}
        for name, pid in self._pids.items():
            sizes = [size for process in _family(pid()) if (size := _memory(process))]
            found[name] = Memory(sum(size.rss_mb for size in sizes), sum(size.pss_mb for size in sizes))
        return found


class Ends:
    """How many records there are."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: int) -> None:
        self._consumer, self._partitions = consumer, partitions

    async def places(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """The offset the next record of each partition will get."""
        places = [TopicPartition(topic, number) for topic in topics for number in range(self._partitions)]
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(places)
        return ends

    async def count(self, *topics: str) -> int:
        return sum((await self.places(topics)).values())


@asynccontextmanager
async def ends_of(settings: Settings) -> AsyncIterator[Ends]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        yield Ends(consumer, settings.partitions)
    finally:
        await consumer.stop()


def ids_in(value: bytes) -> bytes:
    """The ids of the events a message is about, as they stand in its JSON: `"a","b"` of columns, `"a"` of a single one."""
    start = value.find(_ID)
    if start < 0:
        return b""
    start += len(_ID)
    columns = value[start : start + 1] == b"["
    return value[start + 1 : value.find(b"]", start)] if columns else value[start : value.find(b'"', start + 1) + 1]


class Rows:
    """How many events the records of some topics are about: read as they come, for one record is about many."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer, self._counts = consumer, Counter[str]()

    async def count(self) -> Mapping[str, int]:
        """By topic, of all there is now."""
        places = sorted(self._consumer.assignment())
        ends = await self._consumer.end_offsets(places)
        while [place for place in places if await self._consumer.position(place) < ends[place]]:
            for place, found in (await self._consumer.getmany(timeout_ms=200)).items():
                self._counts[place.topic] += sum((ids_in(record.value).count(b'"') + 1) // 2 for record in found)
        return self._counts


@asynccontextmanager
async def rows_since(settings: Settings, since: Mapping[TopicPartition, int]) -> AsyncIterator[Rows]:
    """Counts from these places on."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20
    )
    await consumer.start()
    try:
        consumer.assign(list(since))
        for place, offset in since.items():
            consumer.seek(place, offset)
        yield Rows(consumer)
    finally:
        await consumer.stop()


async def joined(settings: Settings, parts: Mapping[str, Child], groups: Sequence[str]) -> None:
    """Wait until each of these consumer groups has a member. Raises `SystemNotReady`."""
    books, deadline = Books(settings.kafka or ""), time.monotonic() + READY_S
    try:
        while True:
            served: set[str] = set()
            with suppress(ServiceUnavailable):  # a broker that has just started is still reading its own books
                served = {group.name for group in await books.groups(await books.ends()) if group.members}
            if set(groups) <= served:
                return
            dead = [part for part in parts.values() if part.pid() is None]
            if dead or time.monotonic() > deadline:
                said = "; ".join(f"{part.name}: {part.said()}" for part in dead or parts.values())
                raise SystemNotReady(f"nobody joined {', '.join(sorted(set(groups) - served))} ({said})")
            await asyncio.sleep(0.1)
    finally:
        await books.close()


async def caught_up(settings: Settings, ends: Ends, group: str) -> None:
    """Wait until this group has committed all there is, or has not moved for `READY_S`."""
    admin, before, since = AIOKafkaAdminClient(bootstrap_servers=settings.kafka), -1, time.monotonic()
    await admin.start()
    try:
        while time.monotonic() - since < READY_S:
            committed: dict[TopicPartition, OffsetAndMetadata] = {}
            with suppress(KafkaError):
                committed = await admin.list_consumer_group_offsets(group)
            now = await ends.places(sorted({place.topic for place in committed}))
            lag = sum(end - (committed[place].offset if place in committed else 0) for place, end in now.items())
            if committed and lag <= 0:
                return
            if lag != before:
                before, since = lag, time.monotonic()
            await asyncio.sleep(0.2)
    finally:
        await admin.close()


def bench_python() -> str:
    """The interpreter that has the libraries only the benchmark needs: `make bench` puts it beside ours."""
    beside = Path(sys.prefix) / "bench" / "bin" / "python"
    return str(beside) if beside.exists() else sys.executable


def _family(pid: int | None) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid) if pid else None
        return [process, *process.children(recursive=True)] if process else []
    except psutil.NoSuchProcess:
        return []


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _memory(process: psutil.Process) -> Memory | None:
    try:
        found = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return Memory(found.rss / 2**20, getattr(found, "pss", found.rss) / 2**20)
