"""How fast a replay is, from the topic and from Parquet to the store, beside the model alone over the same rows in memory.

    python -m benchmarks.replay --events 200000
    python -m benchmarks.replay --events 1000000 --workers 2
    python -m benchmarks.replay --memory          # peak memory at 100,000 and at 2,000,000 rows
    python -m benchmarks.replay --live            # what it costs whoever is live: `benchmarks.replay_live`
    python -m benchmarks.replay --kill            # kill -9, ten times: `benchmarks.replay_kill`

"The model alone" is one call of `predict` over the features of all rows, computed beforehand: no reading, no decoding, no
features, nothing kept. Two more sides say how near a replay can come to it (`benchmarks.replay_bare`): decoding, features and
model over records in memory, and the same rows put into SQLite, alone. Every side runs in a process of its own, with the same
priority and one thread for the model. The processor's time is shown too: a busy machine changes that less.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

from app import embedded, topic_admin
from app.bus import KafkaProducer
from app.modes.consuming.lifecycle import settle
from app.modes.replay.book import Book
from app.modes.replay.files import RowSource, open_table
from app.modes.replay.manners import Pace
from app.modes.replay.plan import Chosen, Plan, Rows, TopicRange
from app.modes.replay.run import Worker, cut
from app.modes.replay.score import load
from app.modes.replay.sources import Source, TopicSource
from app.modes.replay.targets import StoreTarget
from app.registry import open_registry
from app.settings import Settings, read_settings
from app.sql.replays import Replays
from app.testing import START
from benchmarks.replay_bare import REQUESTED, Watch, bare
from benchmarks.system import environment
from benchmarks.throughput import preload_topic as preload

BARE = ("predict", "compute", "insert")
SIDES = (*BARE, "topic", "parquet")
FEW, MANY = 100_000, 2_000_000
_GROUP = 100_000


@dataclass(frozen=True)
class Measured:
    """One side: rows an agent answered, the time of the clock and of the processor, the peak of its process's memory."""

    rows: int
    seconds: float
    cpu_s: float
    peak_mb: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def write_rides(path: Path, count: int) -> None:
    """Ride requests between the zones of New York, as a Parquet file in row groups; memory is that of one group."""
    rng, schema = np.random.default_rng(7), None
    writer: Any = None
    for first in range(0, count, _GROUP):
        n = min(_GROUP, count - first)
        at = np.datetime64(START.replace(tzinfo=None), "us") + (first + np.arange(n)) * np.timedelta64(500, "ms")
        table = pa.table(
            {
                "event_id": [f"e-{first + row}" for row in range(n)],
                "user_id": [f"user-{one}" for one in rng.integers(0, 5000, n)],
                "ride_id": [f"ride-{first + row}" for row in range(n)],
                "at": pa.array(at, pa.timestamp("us", "UTC")),
                "pickup.zone": rng.integers(1, 264, n),
                "dropoff.zone": rng.integers(1, 264, n),
                "passengers": rng.choice([1, 1, 1, 1, 2, 2, 3, 5], n),
            }
        )
        writer, schema = writer or pq.ParquetWriter(path, table.schema), schema or table.schema
        writer.write_table(table)
    writer.close()


def replayed(settings: Settings, plan: Plan, source: Callable[[], Source], workers: int = 1) -> Watch:
    """The time of one run to its end, by so many processes, their models loaded."""
    run = f"bench-{uuid.uuid4().hex[:8]}"
    uvloop.run(_begin(settings, run, plan, source()))
    registry = open_registry(settings)
    ready = {chosen.agent: load(chosen, registry) for chosen in plan.chosen}

    def work() -> None:
        replays = Replays.open(settings.database_url)
        book = Book(replays, run)
        worker = Worker(book, source(), ready, StoreTarget(book), settings.data_dir / run, Pace(None))
        uvloop.run(worker.run())
        replays.close()

    settle()
    with Watch() as watch:
        helpers = [_forked(work) for _ in range(workers - 1)]
        work()
        for helper in helpers:
            if os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1]):
                raise RuntimeError("a worker of the replay failed")
    return watch


async def _begin(settings: Settings, run: str, plan: Plan, source: Source) -> None:
    replays = Replays.open(settings.database_url)
    Book(replays, run).begin(plan, await cut(plan, source))
    replays.close()


def _forked(work: Callable[[], None]) -> int:
    """A process that does the same, and has loaded what this one has; its id."""
    if child := os.fork():
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def side(name: str, settings: Settings, agent: str, path: Path, workers: int) -> Measured:
    """One side, in this process; the replays with `workers - 1` more."""
    rows = Rows("table", str(path), REQUESTED)
    count = pq.read_metadata(path).num_rows
    chosen = (Chosen(agent, open_registry(settings).resolve(agent)),)
    wanted = TopicRange()
    if name in BARE:
        watch = bare(name, settings, agent, path)
    elif name == "topic":
        watch = replayed(settings, Plan(chosen=chosen, source=wanted), lambda: TopicSource(settings, wanted), workers)
    else:
        plan = Plan(chosen=chosen, source=rows)
        table = partial(open_table, rows, settings.database_url)
        watch = replayed(settings, plan, lambda: RowSource(table(), path.name, REQUESTED), workers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Measured(count, watch.seconds, watch.cpu_s, round(peak))


def apart(name: str, settings: Settings, agent: str, path: Path, workers: int = 1) -> Measured:
    """One side, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.replay", "--side", name, "--agents", agent, "--file", str(path)]
    command += ["--workers", str(workers)]
    given = {**environment(settings), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=given, stdout=subprocess.PIPE, text=True, check=True, timeout=3600)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def speed(
    settings: Settings, agents: Sequence[str], count: int, path: Path, workers: int = 1
) -> dict[str, dict[str, Any]]:
    """Each agent's sides by turns; prints a table of rows a second."""
    write_rides(path, count)
    uvloop.run(_fill(settings, count))
    found: dict[str, dict[str, Any]] = {}
    against = SIDES[1:]
    columns = "".join(f"{name:>12}{'ratio':>7}" for name in against)
    print(f"{'rows a second':14}{'predict':>12}{columns}   us of processor a row")
    for agent in agents:
        sides = {name: apart(name, settings, agent, path, workers) for name in SIDES}
        alone = sides["predict"].rate
        rates = "".join(f"{sides[name].rate:>12,.0f}{sides[name].rate / alone:>7.2f}" for name in against)
        busy = " / ".join(f"{sides[name].cpu_s / count * 1e6:.1f}" for name in SIDES)
        print(f"{agent:14}{alone:>12,.0f}{rates}   {busy}", flush=True)
        found[agent] = {name: asdict(one) for name, one in sides.items()}
    return found


def memory(settings: Settings, agent: str, directory: Path, sizes: Sequence[int]) -> dict[str, Any]:
    """Peak memory of a replay of each size; prints a table."""
    found: dict[str, Any] = {}
    held = 0
    print(f"{'rows':>12}{'topic MB':>12}{'parquet MB':>12}")
    for size in sizes:
        path = directory / f"rides-{size}.parquet"
        write_rides(path, size)
        uvloop.run(_fill(settings, size - held))
        held = size
        peaks = [apart(name, settings, agent, path).peak_mb for name in ("topic", "parquet")]
        print(f"{size:>12,}{peaks[0]:>12,.0f}{peaks[1]:>12,.0f}")
        found[str(size)] = dict(zip(("topic", "parquet"), peaks, strict=True))
    return found


async def _fill(settings: Settings, count: int) -> None:
    """So many ride requests more on the topic `rides`."""
    await topic_admin.ensure(settings)
    producer = KafkaProducer(str(settings.kafka))
    await preload(producer, random.Random(7), "rides", count)
    await producer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--agents", default="cost,tip,duration,cancellation", help="NAME[,NAME...]")
    parser.add_argument("--workers", type=int, default=1, help="processes of a replay; take 500,000 events or more")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    parser.add_argument("--sizes", default=f"{FEW},{MANY}", help="rows, of --memory")
    parser.add_argument("--live", action="store_true", help="latency of live rides with and without a replay")
    parser.add_argument("--kill", action="store_true", help="one replay, killed ten times, beside an undisturbed one")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn of --live")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    agents = chosen.agents.split(",")
    if chosen.side:
        print(
            json.dumps(asdict(side(chosen.side, read_settings(), agents[0], chosen.file, chosen.workers))), flush=True
        )
        os._exit(0)  # an idle thread of a scorer is of no interest
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        fresh = read_settings(data_dir=Path(directory), database=None)
        with embedded.services(fresh) as settings:
            if chosen.live:
                from benchmarks.replay_live import compare

                compare(settings, chosen.seconds)
            elif chosen.kill:
                from benchmarks.replay_kill import torture

                torture(settings, chosen.events, chosen.kills)
            elif chosen.memory:
                memory(settings, agents[0], Path(directory), [int(size) for size in chosen.sizes.split(",")])
            else:
                speed(settings, agents, chosen.events, Path(directory) / "rides.parquet", chosen.workers)


if __name__ == "__main__":
    main()
