"""A backlog of transactions drained by our worker, by its peers, and by two of our workers: who is how fast, at what cost.

Nobody reports their own speed: what counts is what arrives on the topic each one writes to, and the CPU time of the process
as the system books it, from the first answer to the last (or until the time is up).
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import Struct

from app import topic_admin
from app.settings import Settings
from app.topics import CARD_PREDICTIONS
from benchmarks.fraud_parts import (
    ANSWERS,
    SOURCES,
    Child,
    Gauge,
    Rows,
    bench_python,
    broker,
    children,
    ends_of,
    rows_since,
    worker,
)

OURS = "this loop"
PEERS = {
    "plain faust": "faust",
    "plain faust, columns out": "faust-columns",
    "quixstreams, per record": "quix",
    "quixstreams, batching sink": "quix-sink",
    "raw: confluent-kafka": "confluent",
    "raw: aiokafka": "aiokafka",
}
RAW = ("raw: confluent-kafka", "raw: aiokafka")

FIRST_S = 60.0
"""A worker that has answered nothing by then will not: imports, joining a group and the first commit take ten."""

SILENT_S = 10.0
_LOOK_S = 0.05


class Drained(Struct, frozen=True):
    """What one side did, between its first look with answers and its last.

    Attributes:
        events: answers that arrived in that time.
        cpu_s: of its processes, and of the broker.
        note: why there is no figure; empty where there is one.
    """

    name: str
    events: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    cpu_by_part_s: dict[str, float] = {}
    broker_cpu_s: float = 0.0
    rss_mb: float = 0.0
    note: str = ""

    @property
    def rate(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def cpu_s_per_100k(self) -> float:
        return self.cpu_s / self.events * 1e5 if self.events else 0.0


@dataclass(frozen=True)
class _Look:
    at_s: float
    count: int
    cpu_s: Mapping[str, float]


async def compare(settings: Settings, seconds: float) -> list[Drained]:
    """Everybody in turn, for `seconds` each or to the end of the backlog; ours first."""
    found = [await ours(settings, seconds)]
    for name, kind in PEERS.items():
        output = f"bench.{kind}.{uuid.uuid4().hex[:8]}"
        await topic_admin.ensure(settings, [replace(CARD_PREDICTIONS, name=output)])
        command = [bench_python(), "-m", "benchmarks.fraud_peers", kind, "--output", output]
        found.append(await _drain(settings, name, {"peer": command}, output, seconds))
    return found


async def ours(settings: Settings, seconds: float, workers: int = 1) -> Drained:
    """So many of our workers, as one group that was never there before."""
    name = f"fraud-{uuid.uuid4().hex[:8]}"
    commands = {f"worker{number}": worker(name=name) for number in range(1, workers + 1)}
    title = OURS if workers == 1 else f"{OURS}, {workers} workers"
    return await _drain(settings, title, commands, ANSWERS, seconds)


async def _drain(
    settings: Settings, name: str, commands: Mapping[str, Sequence[str]], output: str, seconds: float
) -> Drained:
    with children(settings, **commands) as parts:
        gauge = Gauge({**{part: child.pid for part, child in parts.items()}, "broker": broker(settings)})
        async with ends_of(settings) as ends, rows_since(settings, await ends.places([output])) as rows:
            backlog = await ends.count(*SOURCES)
            looks = await _look(rows, output, gauge, list(parts.values()), seconds, backlog)
        memory = gauge.memory()
    if len(looks) < 2:
        return Drained(name, note="; ".join(sorted({part.said() for part in parts.values()})))
    first, last = looks[0], looks[-1]
    spent = {part: last.cpu_s[part] - first.cpu_s[part] for part in last.cpu_s}
    of_broker = spent.pop("broker")
    return Drained(
        name=name,
        events=last.count - first.count,
        seconds=last.at_s - first.at_s,
        cpu_s=sum(spent.values()),
        cpu_by_part_s=spent,
        broker_cpu_s=of_broker,
        rss_mb=sum(memory[part].rss_mb for part in spent),
    )


async def _look(
    rows: Rows, output: str, gauge: Gauge, parts: Sequence[Child], seconds: float, backlog: int
) -> list[_Look]:
    """A look whenever more has arrived: from the first until the backlog is done, the time is up, or nothing comes."""
    began, looks = time.monotonic(), list[_Look]()
    while any(part.pid() is not None for part in parts):
        count, now = (await rows.count())[output], time.monotonic()
        if count > (looks[-1].count if looks else 0):
            looks.append(_Look(now, count, gauge.cpu_s()))
        silent_s = now - (looks[-1].at_s if looks else began)
        if count >= backlog or silent_s > (SILENT_S if looks else FIRST_S):
            break
        if looks and now - looks[0].at_s > seconds:
            break
        await asyncio.sleep(_LOOK_S)
    return looks


class Ratio(Struct, frozen=True):
    """Ours to another's: rate (more is better) and CPU time for the same number of transactions (less is better)."""

    rate: float
    cpu: float


def ratios(found: Sequence[Drained]) -> dict[str, Ratio]:
    """Ours to each of the others; of the two without a framework to the faster, as the raw ceiling."""
    by_name = {each.name: each for each in found if each.events}
    if OURS not in by_name:
        return {}
    us, raw = by_name.pop(OURS), [by_name.pop(name) for name in RAW if name in by_name]
    others = ({"raw ceiling": max(raw, key=lambda each: each.rate)} if raw else {}) | by_name
    return {
        name: Ratio(us.rate / each.rate, us.cpu_s_per_100k / each.cpu_s_per_100k)
        for name, each in others.items()
        if each.rate and each.cpu_s
    }
