"""What one connection is sent: from where it stopped, without a gap and without a double, until it ends.

The websocket and SSE (`gateway.sockets`) both send what `Live.follow` yields; it knows neither.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from app.clock import utc_now
from app.decisions import Decision
from app.errors import ServiceUnavailable
from app.live import Connected, Heartbeat, LiveDecision, Reconnect, live_message, with_id
from app.live_log import UNREACHABLE, Cursor, Entry, LiveLog, Page
from app.tokens import Identity
from gateway.hub import Hub, Subscription
from gateway.problems import Refused

Snapshot = Callable[[str], Awaitable[list[Decision]]]
"""The latest decisions of a user, newest first, from the store."""


class Frame(NamedTuple):
    """One message: its cursor (SSE's `id`; empty where it is none to resume from), its type (SSE's `event`), its JSON."""

    id: str
    type: str
    data: bytes


@dataclass
class Limits:
    """What one gateway process and one user may hold open, and how long it waits.

    Attributes:
        stall_s: a client that takes nothing for this long is cut off.
        inbound: messages a client may send over one connection; none is expected.
        request_s: within which a request is to be there, whole; 256 KiB over 200 kbit/s take 10 s.
    """

    per_user: int = 20
    total: int = 10_000
    heartbeat_s: float = 15.0
    stall_s: float = 20.0
    inbound: int = 100
    request_s: float = 20.0


@dataclass
class Live:
    """The live channel of one gateway process."""

    hub: Hub
    log: LiveLog
    snapshot: Snapshot
    limits: Limits = field(default_factory=Limits)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    by_user: dict[str, int] = field(default_factory=dict)
    _left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def connections(self) -> int:
        return sum(self.by_user.values())

    async def drained(self) -> None:
        """Returns when the last connection has ended."""
        while self.by_user:
            self._left.clear()
            await self._left.wait()

    @contextmanager
    def place(self, user_id: str) -> Iterator[None]:
        """Room for one connection. Raises `Refused` (429, 503) when there is none."""
        if self.draining.is_set() or self.connections >= self.limits.total:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "this gateway takes no more connections", Retry_After="2")
        if self.by_user.get(user_id, 0) >= self.limits.per_user:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many live connections of this user", Retry_After="30")
        self.by_user[user_id] = self.by_user.get(user_id, 0) + 1
        try:
            yield
        finally:
            self.by_user[user_id] -= 1
            if not self.by_user[user_id]:
                del self.by_user[user_id]
            self._left.set()

    async def follow(self, identity: Identity, last_id: str | None, *, everyone: bool) -> AsyncGenerator[Frame]:
        """First `connected`, then what was missed, then what happens. Raises `ServiceUnavailable`, mostly at the start.

        With `everyone` the messages of other users come as they are announced; those missed are not made up for.
        """
        async with self.hub.subscribe(identity.user_id, everyone=everyone) as subscription:
            reader = _Reader(self, identity.user_id, subscription, Cursor.parse(last_id) if last_id else None)
            while True:
                subscription.restart()
                async for found in reader.catch_up():
                    yield found
                async for found in reader.news():
                    yield found


@dataclass
class _Reader:
    """One connection's way through its user's log.

    Attributes:
        position: of the last message sent; `None` before the first `connected` of a client that gave no `last_id`.
        opening: nothing has been sent yet.
    """

    live: Live
    user_id: str
    subscription: Subscription
    position: Cursor | None
    opening: bool = True

    async def catch_up(self) -> AsyncIterator[Frame]:
        """What the log holds after `position`; a snapshot instead when it no longer reaches back that far."""
        while True:
            page = await self._page()
            if self.position is None or not page.complete:
                self.position, self.opening = page.position, False
                yield _connected(self.user_id, page.position, False, await self._snapshot())
                return
            if self.opening:
                self.opening = False
                yield _connected(self.user_id, self.position, True)
            for entry in page.entries:
                self.position = entry.cursor
                yield frame(entry)
            if not page.more:
                return

    async def news(self) -> AsyncIterator[Frame]:
        """What is announced, with heartbeats in between; ends when the log has to be read."""
        while (batch := await self.subscription.take(self.live.limits.heartbeat_s)) is not None:
            if not batch:
                yield _heartbeat(self.position)
            for news in batch:
                if news.user_id == self.user_id:
                    if self._had(news.entry.cursor):
                        continue
                    if not self._next(news.entry.cursor):
                        return
                    self.position = news.entry.cursor
                    yield frame(news.entry)
                else:
                    yield frame(news.entry)._replace(id="")  # a place in another's log: nothing to resume from

    def _next(self, cursor: Cursor) -> bool:
        return self.position is not None and self.position.precedes(cursor)

    def _had(self, cursor: Cursor) -> bool:
        """Whether it was sent already: it was both in the page and announced."""
        return self.position is not None and self.position[:2] == cursor[:2] and cursor.n <= self.position.n

    async def _page(self) -> Page:
        """A page of the log; a connection that stands waits for a Redis that is away, a new one is refused."""
        wait_s = 0.1
        while True:
            try:
                return await self.live.log.after(self.user_id, self.position)
            except UNREACHABLE as error:
                if self.opening:
                    raise ServiceUnavailable("redis", "the live channel does not answer") from error
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311  # jitter, not a secret
                wait_s = min(wait_s * 2, 2.0)

    async def _snapshot(self) -> tuple[LiveDecision, ...]:
        latest = (live_message(decision) for decision in await self.live.snapshot(self.user_id))
        return tuple(message for message in latest if isinstance(message, LiveDecision))


def frame(entry: Entry) -> Frame:
    """A log entry as it is sent; its type is the first field of its JSON."""
    return Frame(
        str(entry.cursor), entry.body[9 : entry.body.index(b'"', 9)].decode(), with_id(entry.cursor, entry.body)
    )


def farewell(reason: str, retry_after_ms: int) -> Frame:
    """The `reconnect` message: what a connection is sent before it is closed from here."""
    message = Reconnect(at=utc_now(), reason=reason, retry_after_ms=retry_after_ms)
    return Frame("", "reconnect", msgspec.json.encode(message))


def _connected(user_id: str, position: Cursor, recovered: bool, snapshot: tuple[LiveDecision, ...] = ()) -> Frame:
    message = Connected(id=str(position), at=utc_now(), user_id=user_id, recovered=recovered, snapshot=snapshot)
    return Frame(str(position), "connected", msgspec.json.encode(message))


def _heartbeat(position: Cursor | None) -> Frame:
    message = Heartbeat(id=str(position), at=utc_now())
    return Frame(str(position), "heartbeat", msgspec.json.encode(message))
