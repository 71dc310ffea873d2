"""Nothing lost, nothing twice: events flow while the parts of the system, and its broker, are killed with -9 at random.

At the end every event must have been decided exactly once at its user's end, and the dead letters must be exactly the bad
records. `tests/benchmarks/test_chaos.py` runs a short form of this; `python -m benchmarks.chaos` is the long one.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from app import embedded
from app.agent import find, names
from app.bus import Delivered, KafkaProducer, Outgoing
from app.codec import encode
from app.errors import DeliveryFailed
from app.events import OPENING, AnyEvent
from app.live import AnyLive
from app.settings import Settings, read_settings
from app.tokens import read_secret
from benchmarks.chaos_audit import audit
from benchmarks.system import System, running
from simulator.audience import Audience
from simulator.badges import Badges
from simulator.courier import Courier
from simulator.findings import Findings
from simulator.mass import POISONS
from simulator.pace import paced
from simulator.plan import Planned
from simulator.scenario import Options, Scenario

PATIENCE_S = 60.0
"""After the last event: a killed member is missed after 10 s, and its partitions are then read again."""

SPEED = 300.0
"""Of the lives: an upload is changed up to an hour after it came, and the run ends with the last change."""

QUIET_S = 2.0
"""Between two looks; and after the last one, for what comes twice."""


def agents() -> list[str]:
    """Those of rides and uploads, which is what the run sends; the bank's run is `benchmarks.fraud_kill`."""
    return [name for name in names() if find(name).consumes[0].kind != "transaction"]


@dataclass(frozen=True)
class Plan:
    """What to send, and whom to hurt.

    Attributes:
        events: opening events (rides requested, contents uploaded), each to be decided once.
        rate: of them, per second.
        poison: bad records for each good one, put on the topics beside them.
        every_s: a part is killed so often, the agents in the first third of the run, then decision, then the gateway.
        broker: kill the broker too, once in each third.
    """

    events: int = 20_000
    rate: float = 250.0
    poison: float = 0.02
    every_s: float = 4.0
    users: int = 25
    seed: int = 0
    broker: bool = False

    def victims(self, progress: float) -> list[str]:
        """Who may be killed when this share of the events is sent."""
        if progress < 1 / 3:
            return agents()
        return ["decision"] if progress < 2 / 3 else ["gateway"]


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        problems: sentences; empty when nothing was lost and nothing came twice.
        kills: who was killed, in order.
        decided: events whose decision reached their user, live.
    """

    problems: list[str]
    kills: list[str]
    events: int
    decided: int
    revisions: int
    poison: int
    retries: int
    repeats: int
    reconnects: int
    seconds: float


async def run(plan: Plan, system: System) -> Outcome:
    """Send events through the gateway and poison past it while parts die; then look for every trace there should be."""
    settings, rng = system.settings, Random(plan.seed)
    scenario = Scenario(
        Options(
            f"chaos{plan.seed}",
            datetime.now(UTC),
            rate=plan.rate,
            speed=SPEED,
            seed=plan.seed,
            users=plan.users,
            count=plan.events,
        )
    )
    badges, findings = Badges(read_secret(settings)), Findings()
    kills: list[str] = []
    began = time.monotonic()

    def hear(message: AnyLive) -> None:
        findings.hear(message, time.monotonic())

    async with (
        Courier(system.url, badges, witness=findings) as courier,
        Audience(system.url, badges, scenario.users, hear, rng).gathered() as audience,
        asyncio.TaskGroup() as group,
    ):
        monkey = group.create_task(_kill_at_random(plan, system, kills, findings))
        poisoner = group.create_task(_poison(plan, scenario, settings, rng))
        await courier.run(paced(openings(scenario)))
        monkey.cancel()
        bad = await poisoner
        problems = await _settled(settings, findings, audience, bad)
    return Outcome(
        problems=problems,
        kills=kills,
        events=len(findings.asked),
        decided=len(findings.decided),
        revisions=findings.revisions,
        poison=len(bad),
        retries=courier.tally.retries,
        repeats=audience.repeats,
        reconnects=audience.reconnects,
        seconds=time.monotonic() - began,
    )


def on_embedded(plan: Plan) -> Outcome:
    """Run it against a system of its own, on embedded services of its own, each agent in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="millrace-chaos-") as directory:
        settings = read_settings(data_dir=Path(directory), kafka=None, redis=None, database=None)
        with embedded.services(settings) as resolved, running(resolved, agents(), apart=True) as system:
            return asyncio.run(run(plan, system))


def openings(scenario: Scenario) -> Iterator[Planned]:
    """Of each life the event that asks for a decision."""
    return (planned for planned in scenario.plan() if isinstance(planned.event, OPENING))


async def _kill_at_random(plan: Plan, system: System, kills: list[str], findings: Findings) -> None:
    """A part every so often, and with `broker` the broker in the middle of each third."""
    rng, thirds = Random(f"{plan.seed}/monkey"), [1 / 6, 3 / 6, 5 / 6] if plan.broker else []
    while True:
        await asyncio.sleep(plan.every_s * rng.uniform(0.5, 1.5))
        progress = len(findings.asked) / plan.events
        if thirds and progress > thirds[0]:
            thirds.pop(0)
            kills.append(_kill_broker(system.settings))
        elif victim := system.kill(plan.victims(progress), rng):
            kills.append(victim)


def _kill_broker(settings: Settings) -> str:
    for service in embedded.found(settings):
        if service.directory.name == "kafka" and service.pid:
            os.kill(service.pid, signal.SIGKILL)
    return "broker"


async def _poison(plan: Plan, scenario: Scenario, settings: Settings, rng: Random) -> list[Delivered]:
    """Put bad records on every topic the system reads, spread over the run; returns where they lie."""
    assert settings.kafka is not None
    producer, bad = KafkaProducer(settings.kafka, "chaos"), []
    sample: list[AnyEvent] = [planned.event for planned in islice(openings(scenario), 200)]
    total = int(plan.events * plan.poison)
    pause_s = plan.events / plan.rate / max(total, 1)
    try:
        for _ in range(total):
            event = rng.choice(sample)
            topic = rng.choice(("rides", "uploads", "predictions"))
            value = POISONS[rng.choice(tuple(POISONS))](encode(event))
            bad += await _delivered(producer, Outgoing(topic, event.user_id.encode(), value))
            await asyncio.sleep(pause_s)
    finally:
        await producer.close()
    return bad


async def _delivered(producer: KafkaProducer, record: Outgoing) -> list[Delivered]:
    """Send until Kafka has it. A record whose first try got through lies there twice: the audit counts both as bad."""
    while True:
        try:
            return list(await producer.send([record]))
        except DeliveryFailed:
            await asyncio.sleep(0.5)


async def _settled(settings: Settings, findings: Findings, audience: Audience, bad: list[Delivered]) -> list[str]:
    """Look for problems until there are none, or the patience is spent; then once more, for what comes twice."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        problems = [*_at_the_users_end(findings, audience), *await audit(settings, set(findings.asked), bad)]
        if time.monotonic() > deadline:
            return problems
        if not problems:
            deadline = 0.0
        await asyncio.sleep(QUIET_S)


def _at_the_users_end(findings: Findings, audience: Audience) -> Iterator[str]:
    if missing := findings.missing:
        yield f"{len(missing)} events were not decided at their user's end, such as {', '.join(missing[:3])}"
    if findings.again:
        yield f"{findings.again} events were decided twice at their user's end"
    if audience.repeats:
        yield f"{audience.repeats} live messages came to the same user twice"


def table(plan: Plan, outcome: Outcome) -> Table:
    """The outcome as a person reads it."""
    shown = Table(
        "what", "how many", title=f"{plan.events:,} events, kill -9 every {plan.every_s:g} s", title_justify="left"
    )
    shown.add_row("events accepted by the gateway", f"{outcome.events:,}")
    shown.add_row("decided at their user's end", f"{outcome.decided:,}")
    shown.add_row("revised by late predictions", f"{outcome.revisions:,}")
    shown.add_row("bad records put on the topics", f"{outcome.poison:,}")
    for name, times in Counter(outcome.kills).most_common():
        shown.add_row(f"killed: {name}", str(times))
    shown.add_row("requests repeated by the client", f"{outcome.retries:,}")
    shown.add_row("websockets reconnected", f"{outcome.reconnects:,}")
    shown.add_row("seconds", f"{outcome.seconds:.0f}")
    for problem in outcome.problems or ["none: every event decided once, dead letters exactly the bad records"]:
        shown.add_row("[red]problem" if outcome.problems else "[green]problems", problem)
    return shown


def main() -> int:
    """Run the long form; the exit code says whether anything was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=Plan.events, help="opening events, each to be decided once")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="of them per second")
    parser.add_argument("--poison", type=float, default=Plan.poison, help="bad records for each good one")
    parser.add_argument("--every", type=float, default=Plan.every_s, help="seconds between kills")
    parser.add_argument("--broker", action="store_true", help="kill the broker too (embedded only)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    plan = Plan(given.events, given.rate, given.poison, given.every, seed=given.seed, broker=given.broker)
    outcome = on_embedded(plan)
    Console().print(table(plan, outcome))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
