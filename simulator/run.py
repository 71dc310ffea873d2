"""Runs a scenario against the system: the sender, the audience that hears the answers, and the wait for the last of them.

What `millrace simulate` calls; benchmarks and tests call `replay` and `send` themselves.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from app.bus import Producer
from app.errors import MillraceError
from app.live import AnyLive
from app.sql.ledger import LiveError
from simulator.audience import Audience
from simulator.badges import Badges
from simulator.courier import Courier
from simulator.findings import Findings
from simulator.inquiry import Inquiry
from simulator.mass import MassLoader
from simulator.pace import Sender, paced
from simulator.report import Report
from simulator.scenario import Scenario
from simulator.tally import Tally

QUIET_S = 12.0
"""No decision for so long: the rest will not come by itself. An upload is decided after 5 s at the latest."""

SETTLING_S = 10.0
"""How long we wait for the system's own account of its errors to come to rest; the gateway renews it every second, once asked."""

Watch = Callable[[Tally, Findings], None]
"""Is shown, now and then, how far a run is."""


async def send(scenario: Scenario, sender: Sender) -> float:
    """Send a scenario to its end; returns how many seconds it took."""
    started = time.monotonic()
    await sender.run(paced(scenario.plan()))
    return time.monotonic() - started


async def by_http(
    scenario: Scenario, url: str, badges: Badges, *, lanes: int = 32, watch: Watch | None = None
) -> Tally:
    """Send a scenario through the gateway; nobody waits for the decisions."""
    async with Courier(url, badges, lanes=lanes) as courier, _shown(courier.tally, Findings(), watch):
        await send(scenario, courier)
    return courier.tally


async def by_kafka(scenario: Scenario, producer: Producer, *, poison: float = 0.0, watch: Watch | None = None) -> Tally:
    """Send a scenario straight to the topics."""
    loader = MassLoader(producer, poison=poison)
    async with _shown(loader.tally, Findings(), watch):
        await send(scenario, loader)
    return loader.tally


async def replay(
    scenario: Scenario,
    url: str,
    badges: Badges,
    *,
    run: str,
    lanes: int = 32,
    watch: Watch | None = None,
    settling_s: float = SETTLING_S,
) -> Report:
    """Send a scenario through the gateway, listen as every one of its users, wait for the decisions, report.

    Raises `NoGateway` and `AccessRefused`.
    """
    findings = Findings()

    def hear(message: AnyLive) -> None:
        findings.hear(message, time.monotonic())

    try:
        async with (
            Courier(url, badges, lanes=lanes, witness=findings) as courier,
            Inquiry(url, badges) as inquiry,
            _shown(courier.tally, findings, watch),
            Audience(url, badges, scenario.users, hear, Random()).gathered() as audience,
        ):
            seconds = await send(scenario, courier)
            await _last_decision(findings)
            await _ask_for_missing(findings, inquiry)
            return Report(
                run=run,
                events=dict(courier.tally.events),
                retries=courier.tally.retries,
                refused=dict(courier.tally.refused),
                abandoned=courier.tally.abandoned,
                seconds=seconds,
                asked=len(findings.asked),
                decided=len(findings.decided),
                stored=len(findings.stored),
                missing=tuple(findings.missing),
                revisions=findings.revisions,
                repeats=audience.repeats,
                reconnects=audience.reconnects,
                predictions={f"{model} {stage}": n for (model, stage), n in findings.predictions.items()},
                lacking=dict(findings.lacking),
                latency_ms=findings.latency(),
                errors=tuple(findings.errors()),
                live_errors=await _settled_errors(inquiry, settling_s),
                skipped=dict(scenario.skipped),
                again=findings.again,
            )
    except* MillraceError as group:
        raise _first(group) from None


async def _last_decision(findings: Findings) -> None:
    """Wait until every question is answered, or no answer has come for `QUIET_S`."""
    seen, since = -1, time.monotonic()
    while len(findings.decided) < len(findings.asked) and time.monotonic() - since < QUIET_S:
        if len(findings.decided) != seen:
            seen, since = len(findings.decided), time.monotonic()
        await asyncio.sleep(0.05)


async def _ask_for_missing(findings: Findings, inquiry: Inquiry) -> None:
    asked = [(event_id, *findings.subjects[event_id]) for event_id in findings.missing]
    for event_id in await inquiry.decided(asked):
        findings.found(event_id)


async def _settled_errors(inquiry: Inquiry, settling_s: float) -> tuple[LiveError, ...]:
    """The system's live errors once two looks see the same outcomes counted."""
    errors, deadline = await inquiry.errors(), time.monotonic() + settling_s
    while time.monotonic() < deadline:
        await asyncio.sleep(1.5)
        before, errors = errors, await inquiry.errors()
        if errors and [error.n for error in errors] == [error.n for error in before]:
            break
    return errors


@asynccontextmanager
async def _shown(tally: Tally, findings: Findings, watch: Watch | None) -> AsyncIterator[None]:
    """Four times a second, how far it is; and once more at the end."""

    async def look(show: Watch) -> None:
        while True:
            show(tally, findings)
            await asyncio.sleep(0.25)

    looking = asyncio.create_task(look(watch)) if watch else None
    try:
        yield
    finally:
        if looking and watch:
            looking.cancel()
            watch(tally, findings)


def _first(group: BaseExceptionGroup[MillraceError]) -> MillraceError:
    """The first error of a group of groups: one sentence is what a person can use."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MillraceError)  # noqa: S101  # the group was split by this type
    return error
