"""Brings events to the gateway over HTTP, as a well-behaved client of many users would.

Takes due events from `pace`, tells `Tally` and whoever listens what became of them. One user's events stay in order: a
lane sends one at a time, and a user has one lane; the lanes bound what is in flight.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Self

import aiohttp
import msgspec

from app.codec import encode
from app.events import (
    AnyEvent,
    ContentUpdated,
    ContentUploaded,
    Event,
    FraudReported,
    RideCancelled,
    RideCompleted,
    RidePositioned,
    RideRequested,
    RideStarted,
    TransactionMade,
)
from simulator.backoff import wait_s
from simulator.badges import Badges
from simulator.errors import NoGateway
from simulator.pace import Due, Witness
from simulator.tally import Tally

ROUTES: dict[type[Event], str] = {
    RideRequested: "/v1/rides",
    RideStarted: "/v1/rides/{}/started",
    RidePositioned: "/v1/rides/{}/positions",
    RideCompleted: "/v1/rides/{}/completed",
    RideCancelled: "/v1/rides/{}/cancelled",
    ContentUploaded: "/v1/uploads",
    ContentUpdated: "/v1/uploads",
    TransactionMade: "/v1/transactions",
    FraudReported: "/v1/transactions/{}/fraud",
}

LATER = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses after which the same request may succeed; every other refusal is for good."""

LONGEST_RETRY_AFTER_S = 30.0
QUEUED = 32
"""Events that wait in one lane before the pacer is held up."""


class Courier:
    """Sends events until each is accepted, refused for good, or `patience_s` is spent on it.

    Use as an async context manager. Raises `NoGateway` on entry when nobody answers.

    Args:
        url: the gateway's, `http://host:port`.
        lanes: requests in flight, at most.
        patience_s: how long one event is tried again while the system says "later" or nothing at all.
        witness: told of each event before it is first sent, and of each that was turned down for good.
    """

    def __init__(
        self,
        url: str,
        badges: Badges,
        *,
        lanes: int = 32,
        patience_s: float = 120.0,
        witness: Witness | None = None,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        self._url, self._badges, self._patience_s = url.rstrip("/"), badges, patience_s
        self._witness, self._clock = witness, clock
        self._rng = rng or Random()
        self._queues: list[asyncio.Queue[Due | None]] = [asyncio.Queue(QUEUED) for _ in range(lanes)]

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=len(self._queues), keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=40, connect=5), auto_decompress=False
        )
        try:
            async with self._session.get(f"{self._url}/health/live") as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            await self._session.close()
            raise NoGateway(self._url, str(error) or type(error).__name__) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def run(self, events: AsyncIterator[Due]) -> None:
        """Send all events; returns when the fate of each is known."""
        async with asyncio.TaskGroup() as lanes:
            for queue in self._queues:
                lanes.create_task(self._lane(queue))
            async for due in events:
                await self._queues[zlib.crc32(due.event.user_id.encode()) % len(self._queues)].put(due)
            for queue in self._queues:
                await queue.put(None)

    async def _lane(self, queue: "asyncio.Queue[Due | None]") -> None:
        while (due := await queue.get()) is not None:
            await self.deliver(due)

    async def deliver(self, due: Due) -> None:
        """Send one event until its fate is known; every try carries the same event id."""
        posted, attempt = self._clock(), 0
        if self._witness:
            self._witness.posting(due.event, due.due, posted)
        while (later_s := await self._post(due.event, attempt)) is not None:
            if self._clock() + later_s - posted > self._patience_s:
                self.tally.abandoned += 1
                return
            self.tally.retries += 1
            attempt += 1
            await asyncio.sleep(later_s)

    async def _post(self, event: AnyEvent, attempt: int) -> float | None:
        """One try: `None` when the event's fate is known, else how long to wait before the next."""
        try:
            async with self._session.post(
                self._url + ROUTES[type(event)].format(event.subject_id),
                data=body(event),
                headers={
                    "Authorization": f"Bearer {self._badges.of(event.user_id)}",
                    "Content-Type": "application/json",
                },
            ) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return wait_s(attempt, self._rng)
        if answer.status in LATER:
            return max(_retry_after(answer.headers.get("Retry-After")), wait_s(attempt, self._rng))
        if 200 <= answer.status < 300:
            self.tally.events[type(event).__name__] += 1
        else:
            self.tally.refused[f"{answer.status} {_problem(said)}"] += 1
            if self._witness:
                self._witness.refused(event)
        return None


def body(event: Event) -> bytes:
    """The request body of an event: itself; an update goes the way of uploads and says so."""
    if isinstance(event, ContentUpdated):
        fields = msgspec.to_builtins(event)
        del fields["type"]
        return msgspec.json.encode({**fields, "update": True})
    return encode(event)


def _retry_after(value: str | None) -> float:
    """Seconds; a date or nonsense counts as none."""
    try:
        return min(LONGEST_RETRY_AFTER_S, max(0.0, float(value or 0)))
    except ValueError:
        return 0.0


def _problem(said: bytes) -> str:
    """What `application/problem+json` gives as the reason."""
    try:
        problem = msgspec.json.decode(said, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "with no reason given"
    detail = str(problem.get("detail") or problem.get("title") or "with no reason given")
    return f"{problem['field']}: {detail}" if problem.get("field") else detail
