"""Holds a plan to the clock: each event is handed on when it is due, and at once when that is past.

Between `plan` (what is due when) and the senders (`courier`, `mass`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol

from app.events import AnyEvent
from simulator.plan import Planned

BREATH = 64
"""Overdue events handed on before the loop gets a turn: a plan that is all overdue must not starve the senders."""


class Due(NamedTuple):
    """An event and the moment it was due, on the pacer's clock: what a latency that hides no queueing counts from."""

    event: AnyEvent
    due: float


class Sender(Protocol):
    """Takes due events to the system; ends when all of them are accepted, refused or given up."""

    async def run(self, events: AsyncIterator[Due]) -> None: ...


class Witness(Protocol):
    """Is told by a sender what is asked of the system."""

    def posting(self, event: AnyEvent, due: float, at: float) -> None:
        """The event, due at `due`, is sent for the first time at `at`; both on the sender's clock."""
        ...

    def refused(self, event: AnyEvent) -> None:
        """The event was turned down for good: nothing is owed for it."""
        ...


async def paced(
    plan: Iterable[Planned],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[Due]:
    """The events of a plan, none before it is due; a consumer that is too slow gets them late, never fewer."""
    origin, overdue = clock(), 0
    for due_s, event in plan:
        if (wait_s := origin + due_s - clock()) > 0:
            overdue = 0
            await sleep(wait_s)
        elif (overdue := overdue + 1) % BREATH == 0:
            await sleep(0)
        yield Due(event, origin + due_s)
