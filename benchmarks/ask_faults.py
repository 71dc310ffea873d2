"""Every question ends by its deadline, with the right answer or a typed error, while worker, gateway and broker are killed.

Half of the questions go through the gateway over HTTP, half are asked of Kafka from here: two askers at once, whose answers must
not be mixed up. `python -m benchmarks.ask --faults` is the long form, `tests/benchmarks/test_ask_faults.py` the short one.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import httpx
import msgspec
import psutil

from app import embedded
from app.asking.asker import Asker, fresh_id, kafka_asker
from app.errors import AskingFailed
from app.events import Place, RideRequested
from app.settings import Settings
from app.testing import Events
from app.tokens import mint
from benchmarks.system import System, running

WITHIN_S = 1.0
"""The deadline of every question."""

GRACE_MS = 50.0
"""How much later than its deadline a question may end, on a machine that is idle but for this."""

LANES, VARIANTS = 8, 40
RECOVERY_S = 60.0
TYPED = {413, 422, 429, 503, 504}

Answers = dict[int, float]
"""The right one of each variant, as it was before anything was killed."""

Question = Callable[[int], Awaitable[float | str]]
"""Asks a variant: its value, or how it ended instead."""


@dataclass
class Audit:
    """What came of it.

    Attributes:
        ends: how many questions ended how.
        wrong: answered, and not with what was answered before.
        latest_ms: how long after its deadline the latest one ended.
        pending: questions still remembered at the end, by the asker here.
        recovered_s: from the last kill until every lane was answered again; `None` when that never came.
        gateway_mb: its memory after a while, and at the end (a gateway that was killed begins anew).
    """

    ends: Counter[str] = field(default_factory=Counter)
    kills: list[str] = field(default_factory=list)
    wrong: int = 0
    latest_ms: float = 0.0
    pending: int = 0
    recovered_s: float | None = None
    gateway_mb: tuple[float, float] = (0.0, 0.0)

    def problems(self, grace_ms: float) -> list[str]:
        """In sentences; none when all was as promised."""
        untyped = {end: count for end, count in self.ends.items() if end.startswith("untyped")}
        found = {
            f"{self.wrong} wrong answers": self.wrong,
            f"a question ended {self.latest_ms:.0f} ms after its deadline": self.latest_ms > grace_ms,
            f"{self.pending} questions are still remembered": self.pending,
            f"errors of no known kind: {untyped}": untyped,
            "it did not recover": self.recovered_s is None,
        }
        return [sentence for sentence, holds in found.items() if holds]


def on_embedded(given: Settings, agent: str, seconds: float) -> Audit:
    """Against a system of its own, on embedded services of its own, each agent in a process of its own."""
    fresh = given.model_copy(update={"kafka": None, "redis": None, "database": None})
    with embedded.services(fresh) as resolved, running(resolved, [agent], apart=True) as system:
        return asyncio.run(run(system, agent, seconds))


async def run(system: System, agent: str, seconds: float) -> Audit:
    """Ask for so long, killing each part twice, evenly spread."""
    asker, audit = kafka_asker(system.settings, [agent]), Audit()
    await asker.start()
    headers = {"Authorization": f"Bearer {mint(system.settings, 'faults')}", "Deadline-Ms": f"{WITHIN_S * 1000:.0f}"}
    async with httpx.AsyncClient(base_url=system.url, headers=headers, timeout=WITHIN_S * 10) as client:
        ways: list[Question] = [_direct(asker, agent), _over_http(client, agent)]
        right = await _right(ways)
        stop = asyncio.Event()
        lanes = [
            asyncio.create_task(_lane(way, right, audit, stop, Random(f"{number}")))
            for number, way in enumerate(ways * LANES)
        ]
        early = _gateway_mb(system)
        for victim in [agent, "gateway", "broker"] * 2:
            await asyncio.sleep(seconds / 6)
            audit.kills.append(_kill(system, victim))
        audit.recovered_s = await _recovery(ways, right)
        stop.set()
        await asyncio.gather(*lanes)
    audit.pending, audit.gateway_mb = asker.pending, (early, _gateway_mb(system))
    await asker.close()
    return audit


def ride(variant: int) -> RideRequested:
    """Always the same for the same variant, but for its id."""
    places = {"pickup": Place(zone=variant + 1), "dropoff": Place(zone=263 - variant)}
    return Events("faults").ride(event_id=fresh_id(), **places)


def _direct(asker: Asker, agent: str) -> Question:
    async def ask(variant: int) -> float | str:
        try:
            said = await asker.ask(agent, [ride(variant)], WITHIN_S)
        except AskingFailed as error:
            return type(error).__name__
        return said.values[0] if said.values[0] is not None else f"untyped: {said.problems}"

    return ask


def _over_http(client: httpx.AsyncClient, agent: str) -> Question:
    async def ask(variant: int) -> float | str:
        instance = {name: part for name, part in msgspec.to_builtins(ride(variant)).items() if name != "user_id"}
        try:
            response = await client.post(f"/v1/predict/{agent}", json={"instances": [instance]})
        except httpx.TransportError:
            return "connection lost"  # the gateway itself was killed
        if response.status_code in TYPED and response.headers["content-type"] == "application/problem+json":
            return f"HTTP {response.status_code}"
        if response.status_code != 200:
            return f"untyped: HTTP {response.status_code}"
        return float(response.json()["predictions"][0]["value"])

    return ask


async def _right(ways: Sequence[Question]) -> Answers:
    """Ask each variant until it is answered; the two ways must agree."""
    right: Answers = {}
    deadline = time.monotonic() + RECOVERY_S
    while len(right) < VARIANTS:
        said = [await way(len(right)) for way in ways]
        if isinstance(said[0], float) and said[0] == said[1]:
            right[len(right)] = said[0]
        elif time.monotonic() > deadline:
            raise TimeoutError(f"no answer to begin with: {said}")
        else:
            await asyncio.sleep(0.2)
    return right


async def _lane(way: Question, right: Answers, audit: Audit, stop: asyncio.Event, rng: Random) -> None:
    while not stop.is_set():
        variant, began = rng.randrange(VARIANTS), time.monotonic()
        said = await way(variant)
        audit.latest_ms = max(audit.latest_ms, (time.monotonic() - began - WITHIN_S) * 1000)
        audit.ends["answered" if isinstance(said, float) else said] += 1
        audit.wrong += isinstance(said, float) and said != right[variant]
        await asyncio.sleep(0.01 if isinstance(said, float) else 0.1)


async def _recovery(ways: Sequence[Question], right: Answers) -> float | None:
    """How long it takes until both ways answer twenty times running."""
    began, running_well = time.monotonic(), 0
    while running_well < 20:
        if time.monotonic() - began > RECOVERY_S:
            return None
        said = [await way(0) for way in ways]
        running_well = running_well + 1 if said == [right[0]] * len(ways) else 0
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def _kill(system: System, victim: str) -> str:
    if victim != "broker":
        return system.kill([victim], Random(0)) or f"{victim} (was away)"
    for service in embedded.found(system.settings):
        if service.directory.name == "kafka" and service.pid:
            os.kill(service.pid, signal.SIGKILL)
    return victim


def _gateway_mb(system: System) -> float:
    try:
        return float(psutil.Process(system.processes()["gateway"]).memory_info().rss) / 2**20
    except (KeyError, psutil.Error):
        return 0.0
