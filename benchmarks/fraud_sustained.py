"""Transactions at a steady rate through generator, broker, agent and decision, all on this machine, watched every second."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from msgspec import Struct

from app.settings import Settings
from app.store import Store
from benchmarks.fraud_audit import Audit, audit
from benchmarks.fraud_parts import (
    ANSWERS,
    SOURCES,
    VERDICTS,
    Child,
    Ends,
    Gauge,
    Memory,
    broker,
    caught_up,
    children,
    decision,
    ends_of,
    joined,
    redis,
    worker,
)
from benchmarks.fraud_task import AGENT
from benchmarks.system import SystemNotReady
from decision import card_worker
from simulator.surge import days_per_s

GROUPS = (f"millrace.{AGENT}", card_worker.GROUP)
GROWING = 0.02
"""Lag that grows by more than this share of the rate is a system that does not keep up. With a window of a second a look finds
anything from nothing to a second's worth waiting, so that the slope over 30 looks strays by 0.6 % of the rate by itself."""

EVERY_S = 1.0
_STARTING_S = 0.05
CARDS = 50_000
_FEWEST = 4


class Load(Struct, frozen=True):
    """What to send: `rate` transactions per second for `seconds`, after `warm_up_s` of the same that do not count.

    Attributes:
        within_s: how long the agent may wait for a fuller batch.
        processes, agents, decisions: how many of the generator, of the agent, and of the decision worker.
        speed: seconds of event time per second; what leaves each card its two transactions a day, where it is not given.
        start: event time of the beginning, a midnight; runs on one set of topics must not go back in time.
    """

    rate: float
    seconds: float
    within_s: float
    start: datetime
    warm_up_s: float = 0.0
    processes: int = 1
    agents: int = 1
    decisions: int = 1
    seed: int = 0
    speed: float | None = None

    @property
    def end(self) -> datetime:
        """A midnight after its last event, and after those of its warm-up."""
        return self.start + timedelta(days=int(self.days(self.seconds + self.warm_up_s)) + 3)

    def days(self, seconds: float) -> float:
        """How far event time comes in so many seconds."""
        return days_per_s(self.rate, CARDS, self.speed) * seconds


class Sample(Struct, frozen=True):
    """One look: transactions so far, and how many of them had no prediction and no decision yet."""

    at_s: float
    made: int
    unpredicted: int
    undecided: int


class Sustained(Struct, frozen=True):
    """What came of a load.

    Attributes:
        rate: transactions per second that the generator achieved.
        behind_s: how far it was ever behind its schedule.
        growth: of the lag, in transactions per second, over the second half of the run.
        cpu_s_per_100k: CPU seconds per 100,000 transactions, by process.
        memory: at the end, by process.
    """

    load: Load
    rate: float
    made: int
    reported: int
    behind_s: float
    growth: float
    cpu_s_per_100k: dict[str, float]
    memory: dict[str, Memory]
    samples: list[Sample]
    audit: Audit

    @property
    def steady(self) -> bool:
        """Whether the lag did not grow."""
        return self.growth <= self.load.rate * GROWING


class Tally:
    """How many transactions came to the topics since it was made, and how many were predicted and decided.

    By the books, which cost next to nothing to look at: what the agent has committed, and what the store has counted, each a commit interval
    late at most. Whether it is true, `audit` finds out afterwards from the topics; to read them meanwhile took 8 % of a core.
    """

    def __init__(
        self, ends: Ends, admin: AIOKafkaAdminClient, store: Store, since: Mapping[TopicPartition, int]
    ) -> None:
        self.since = since
        self._ends, self._admin, self._store, self._before = ends, admin, store, 0

    async def look(self) -> tuple[int, int, int]:
        """Transactions, predictions, decisions; the transactions last, so that none is predicted and not there."""
        decided = sum((await asyncio.to_thread(self._store.actions)).values())
        committed = await self._admin.list_consumer_group_offsets(GROUPS[0])
        now = await self._ends.places(SOURCES)
        predicted = (committed[place].offset - self.since[place] for place in now if place in committed)
        made = sum(end - self.since[place] for place, end in now.items())
        return made, sum(max(0, n) for n in predicted), decided - self._before

    async def begin(self) -> None:
        """Decisions count from now on."""
        self._before = sum((await asyncio.to_thread(self._store.actions)).values())


@asynccontextmanager
async def tallying(settings: Settings, ends: Ends) -> AsyncIterator[Tally]:
    """Counts from now on."""
    store, admin = Store.open(settings.database_url), AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        tally = Tally(ends, admin, store, await ends.places([*SOURCES, ANSWERS, VERDICTS]))
        await tally.begin()
        yield tally
    finally:
        await admin.close()
        store.close()


async def drained(settings: Settings, ends: Ends) -> None:
    """Wait until everything is predicted, and then decided, or nothing more is for a while: what is not by then counts as lost."""
    for group in GROUPS:
        await caught_up(settings, ends, group)


async def sustain(settings: Settings, load: Load, run: str) -> Sustained:
    """Run it. Raises `SystemNotReady` when a part does not start or ends early."""
    commands = _several("agent", worker(load.within_s), load.agents)
    commands |= _several("decision", decision(), load.decisions)
    with children(settings, **commands) as parts:
        await joined(settings, parts, GROUPS)
        async with ends_of(settings) as ends:
            start = await _warm_up(settings, load, f"{run}w", ends)
            pids = {name: part.pid for name, part in parts.items()}
            gauge = Gauge({"broker": broker(settings), "redis": redis(settings), **pids})
            async with tallying(settings, ends) as tally:
                before = gauge.cpu_s()
                with children(settings, generator=generator(load, run, load.seconds, start)) as sending:
                    samples = await _watch(sending["generator"], parts, tally)
                    sent = told(sending["generator"])
                await drained(settings, ends)
                after, memory = gauge.cpu_s(), gauge.memory()
    made = int(sent["made"])
    cpu_s = {"generator": sent["cpu_s"], **{name: after[name] - before[name] for name in before}}
    return Sustained(
        load=load,
        rate=sent["rate"],
        made=made,
        reported=int(sent["reported"]),
        behind_s=sent["behind_s"],
        growth=growth(samples),
        cpu_s_per_100k={name: spent / made * 1e5 for name, spent in cpu_s.items()},
        memory=memory,
        samples=samples,
        audit=await audit(settings, run, made, tally.since),
    )


def _several(name: str, command: list[str], count: int) -> dict[str, list[str]]:
    return {f"{name} {n}" if n > 1 else name: command for n in range(1, count + 1)}


def generator(load: Load, run: str, seconds: float, start: datetime) -> list[str]:
    """The command that sends it."""
    options = {
        "--rate": load.rate,
        "--seconds": seconds,
        "--processes": load.processes,
        "--seed": load.seed,
        "--users": CARDS,
        "--run": run,
        "--start": f"{start:%Y-%m-%d}",
        "--via": "kafka",
        **({"--speed": load.speed} if load.speed else {}),
    }
    words = [str(word) for option in options.items() for word in option]
    return [sys.executable, "-m", "cli", "simulate", "transactions", "--json", *words]


async def _warm_up(settings: Settings, load: Load, run: str, ends: Ends) -> datetime:
    """The same load for a while; when it is decided. Returns the event time at which the rest begins."""
    if not load.warm_up_s:
        return load.start
    with children(settings, warm_up=generator(load, run, load.warm_up_s, load.start)) as sending:
        while sending["warm_up"].pid() is not None:  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.05)
        told(sending["warm_up"])
    await drained(settings, ends)
    return load.start + timedelta(days=int(load.days(load.warm_up_s)) + 1)


async def _watch(sending: Child, parts: Mapping[str, Child], tally: Tally) -> list[Sample]:
    """A sample a second, from the first transaction until the generator has ended."""
    samples, began = list[Sample](), time.monotonic()
    while sending.pid() is not None:
        if dead := [part for part in parts.values() if part.pid() is None]:
            raise SystemNotReady(f"{dead[0].name} ended in mid-run: {dead[0].said()}")
        made, predicted, decided = await tally.look()
        if not made:  # the generator is still starting
            began = time.monotonic()
            await asyncio.sleep(_STARTING_S)
            continue
        samples.append(Sample(time.monotonic() - began, made, made - predicted, made - decided))
        await asyncio.sleep(max(0.0, began + len(samples) * EVERY_S - time.monotonic()))
    return samples


def told(sending: Child) -> dict[str, Any]:
    """What the generator reports of itself."""
    try:
        report: dict[str, Any] = msgspec.json.decode(sending.said())
    except msgspec.DecodeError:
        raise SystemNotReady(f"the generator sent nothing: {sending.said()}") from None
    return report


def growth(samples: Sequence[Sample]) -> float:
    """Slope of the undecided over the second half of the samples, per second; 0 where there are too few to say."""
    last = samples[len(samples) // 2 :]
    if len(last) < _FEWEST:
        return 0.0
    return float(np.polyfit([sample.at_s for sample in last], [sample.undecided for sample in last], 1)[0])
