"""One replay killed -9 at random, again and again, beside an undisturbed one: what they keep must be the same, row for row.

    python -m benchmarks.replay --kill --events 200000

The rides are requested, started, driven and completed, so that the agent has to remember them across every kill.
"""

import random
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import uvloop
from sqlalchemy import select

from app import topic_admin
from app.bus import KafkaProducer, Outgoing
from app.events import AnyRide, Place, RideCompleted, RidePositioned, RideRequested, RideStarted
from app.modes.replay.book import Book
from app.settings import Settings
from app.sql.replay_schema import lanes, replayed
from app.sql.replays import Replays
from app.testing import START, outgoing
from benchmarks.system import SystemNotReady, environment

_POSITIONS = 5
_LIFE = _POSITIONS + 3
_CHUNK = 500  # rides under way at the same time
_PATIENCE_S = 600.0


def torture(settings: Settings, events: int, kills: int, agent: str = "duration") -> dict[str, Any]:
    """Both runs; prints what became of them. Raises `SystemNotReady` when one does not end, and when they differ."""
    uvloop.run(fill(settings, events // _LIFE))
    replays, rng, name = Replays.open(settings.database_url), random.Random(7), uuid.uuid4().hex[:6]
    started = time.monotonic()
    # So that there are three slices for every kill, whatever the machine.
    rate = ("--rate", str(events / kills / 1.5))
    _finish(settings, start(settings, f"calm-{name}", "--agent", agent))
    took = time.monotonic() - started
    done = killed(settings, replays, f"hurt-{name}", ("--agent", agent, *rate), rate, kills, rng)
    calm, hurt = (rows(replays, f"{run}-{name}") for run in ("calm", "hurt"))
    replays.close()
    print(f"undisturbed: {len(calm):,} predictions in {took:.1f} s; killed {done} times: {len(hurt):,}")
    if calm != hurt:
        raise SystemNotReady(f"they differ in {len(set(calm) ^ set(hurt)):,} rows")
    print("the same, row for row")
    return {"predictions": len(calm), "kills": done}


def killed(
    settings: Settings,
    replays: Replays,
    run: str,
    begin: Sequence[str],
    go_on: Sequence[str],
    kills: int,
    rng: random.Random,
) -> int:
    """A run to its end, killed after a random while whenever it has made some way; how often that was."""
    book, done = Book(replays, run), 0
    process = start(settings, run, *begin)
    while done < kills:
        before = book.standing().passed
        deadline = time.monotonic() + _PATIENCE_S
        while process.poll() is None and book.standing().passed == before:
            if time.monotonic() > deadline:
                process.kill()
                raise SystemNotReady(f"run {run} does not get on")
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        done += 1
        process = start(settings, run, *go_on)
    _finish(settings, process)
    return done


def start(settings: Settings, run: str, *options: str) -> "subprocess.Popen[bytes]":
    """A worker in a process of its own: begins the run where an agent is named, else goes on with it."""
    command = [sys.executable, "-m", "cli", "replay", "--eager", "--run", run, *options]
    return subprocess.Popen(command, env=environment(settings), stdout=subprocess.DEVNULL)


def rows(replays: Replays, run: str) -> list[tuple[Any, ...]]:
    """What a run has kept, in an order of its own, without the numbers that differ from run to run."""
    columns = [replayed.c[name] for name in replayed.columns.keys() if name != "lane"]  # noqa: SIM118 - no mapping
    query = select(lanes.c.model, lanes.c.version, *columns).join(lanes, lanes.c.lane == replayed.c.lane)
    with replays.connected() as connection:
        found = connection.execute(query.where(lanes.c.run == run))
        return sorted(tuple(row) for row in found)


async def fill(settings: Settings, rides: int) -> None:
    """So many whole rides on the topic `rides`, some hundreds under way at a time."""
    await topic_admin.ensure(settings)
    producer, rng = KafkaProducer(str(settings.kafka)), random.Random(7)
    for first in range(0, rides, _CHUNK):
        lives = [_life(rng, number) for number in range(first, min(first + _CHUNK, rides))]
        await producer.send([_outgoing(life[step]) for step in range(_LIFE) for life in lives])
    await producer.close()


def _life(rng: random.Random, number: int) -> Sequence[AnyRide]:
    ride: dict[str, Any] = {"user_id": f"user-{number % 2000}", "ride_id": f"ride-{number}"}
    at = START + timedelta(seconds=number)
    zones: dict[str, Any] = {"pickup": Place(zone=rng.randint(1, 263)), "dropoff": Place(zone=rng.randint(1, 263))}
    moves = [
        RidePositioned(
            event_id=f"p{step}-{number}",
            at=at + timedelta(minutes=2 * step + 1),
            lat=rng.uniform(40.6, 40.85),
            lon=rng.uniform(-74.02, -73.8),
            travelled_km=step * 0.9,
            **ride,
        )
        for step in range(_POSITIONS)
    ]
    end = at + timedelta(minutes=2 * _POSITIONS)
    return [
        RideRequested(event_id=f"r-{number}", at=at, **zones, **ride),
        RideStarted(event_id=f"s-{number}", at=at, **ride),
        *moves,
        RideCompleted(event_id=f"c-{number}", at=end, duration_min=10.0, fare_usd=12.0, **ride),
    ]


def _outgoing(event: AnyRide) -> Outgoing:
    return outgoing(event, "rides")


def _finish(settings: Settings, process: "subprocess.Popen[bytes]") -> None:
    """Await the end of a worker. Raises `SystemNotReady` where it is not a good one."""
    try:
        code = process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = -9
    if code:
        raise SystemNotReady(f"a worker of the replay ended with {code}; data in {settings.data_dir}")
