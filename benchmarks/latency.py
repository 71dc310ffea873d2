"""From POST to the final decision at the websocket, at a steady rate, beside the floor of the same hops without any work.

Open loop: an event's latency counts from when it was due, so a system that falls behind cannot hide it (Tene, "How NOT to
measure latency": coordinated omission). The real system and the floor run on one broker and take turns. `make bench` prints
the table; `python -m benchmarks.latency --help` has the knobs.
"""

import argparse
import asyncio
import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median

import uvloop
from rich.console import Console
from rich.table import Table

from app import embedded
from app.events import AnyEvent
from app.live import AnyLive
from app.settings import Settings, read_settings
from app.tokens import read_secret
from benchmarks import floor, system
from simulator.audience import Audience
from simulator.badges import Badges
from simulator.courier import Courier
from simulator.findings import Findings
from simulator.pace import paced
from simulator.plan import Planned, arrivals, schedule, until
from simulator.trips import TripMaker

USERS = 64
"""More than are ever in flight at once: a user's next event waits for the last one's acknowledgement."""

ARRIVAL_S = 5.0
"""How long after the last event its decision may come; a ride is decided after 2 s at the latest."""


class FromDue(Findings):
    """Findings whose clock starts when an event was due, not when it was sent; events of the warm-up do not count."""

    def __init__(self, warm_up_s: float) -> None:
        super().__init__()
        self._warm_up_s, self._first = warm_up_s, float("inf")

    def posting(self, event: AnyEvent, due: float, at: float) -> None:  # noqa: ARG002  # what counts is when it was due
        self._first = min(self._first, due)
        if due - self._first >= self._warm_up_s:
            super().posting(event, due, due)


@dataclass(frozen=True)
class Round:
    """One turn of one system: milliseconds, how many events counted, how many of them got no decision in time."""

    p50: float
    p99: float
    max: float
    n: int
    missing: int


async def measure(url: str, badges: Badges, run: str, rate: float, seconds: float, warm_up_s: float) -> Round:
    """Ride requests at `rate` per second against one gateway, each user listening."""
    findings = FromDue(warm_up_s)
    clock = asyncio.get_running_loop().time

    def hear(message: AnyLive) -> None:
        findings.hear(message, clock())

    users = [f"rider-{n}" for n in range(USERS)]
    async with (
        Courier(url, badges, lanes=USERS, witness=findings, rng=Random(0), clock=clock) as courier,
        Audience(url, badges, users, hear, Random(0)).gathered(),
    ):
        await courier.run(paced(requests(run, rate, seconds + warm_up_s), clock))
        deadline = clock() + ARRIVAL_S
        while findings.missing and clock() < deadline:  # noqa: ASYNC110  # many conditions, one look
            await asyncio.sleep(0.05)
    latency = findings.latency()
    if latency is None:
        raise system.SystemNotReady(f"not one decision came from {url}")
    return Round(*latency, n=len(findings.asked), missing=len(findings.missing))


def requests(run: str, rate: float, seconds: float) -> list[Planned]:
    """The opening events of made-up rides: what comes of them afterwards is not measured here."""
    births = until(
        arrivals(TripMaker(run, users=USERS), seed=run, start=datetime.now(UTC), rate=rate, speed=1.0), seconds
    )
    return list(schedule((birth._replace(life=birth.life[:1]) for birth in births), 1.0))


def compare(settings: Settings, rounds: int, rate: float, seconds: float, apart: bool) -> dict[str, list[Round]]:
    """The real system and the floor by turns on the same broker, each warmed up before each turn.

    One turn of each goes before and does not count: a broker that has just started compiles itself for half a minute,
    which takes a quarter of this machine (measured: 53 % of a core then, 20 % afterwards).
    """
    badges, found = Badges(read_secret(settings)), dict[str, list[Round]]()
    with system.running(settings, apart=apart) as real, floor.running(settings) as bare:
        for number in range(rounds + 1):
            for name, url in (("floor", bare), ("millrace", real.url)):
                turn = uvloop.run(measure(url, badges, f"{name}{number}", rate, seconds, warm_up_s=seconds / 3))
                if number:
                    found.setdefault(name, []).append(turn)
    return found


def table(found: dict[str, list[Round]], rate: float) -> Table:
    """Medians over the rounds, the worst maximum, and the ratio to the floor."""
    rows = Table(title=f"POST to decision at {rate:g} rides/s, milliseconds", title_justify="left")
    for name in ("", "p50", "p99", "max", "events", "missing"):
        rows.add_column(name, justify="left" if not name else "right")
    figures = {
        name: [median(r.p50 for r in rounds), median(r.p99 for r in rounds), max(r.max for r in rounds)]
        for name, rounds in found.items()
    }
    for name, rounds in found.items():
        counts = f"{sum(r.n for r in rounds):,}", f"{sum(r.missing for r in rounds):,}"
        rows.add_row(name, *(f"{value:.1f}" for value in figures[name]), *counts)
    ratios = (real / bare for real, bare in zip(figures["millrace"], figures["floor"], strict=True))
    rows.add_row("ratio", *(f"{ratio:.2f}" for ratio in ratios), "", "")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="ride requests per second (default 100)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn, after a third of that to warm up")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--apart", action="store_true", help="each agent in a process of its own, as in service")
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        given = read_settings(data_dir=Path(directory))
        with embedded.services(given) as settings:
            found = compare(settings, chosen.rounds, chosen.rate, chosen.seconds, chosen.apart)
    if chosen.json:
        print(json.dumps({name: [vars(r) for r in rounds] for name, rounds in found.items()}))
    else:
        Console().print(table(found, chosen.rate))


if __name__ == "__main__":
    main()
