"""The hub: one Redis subscription per gateway process, handed on to the connections that asked for it.

Between `app.live_log` (which announces what was appended) and `gateway.follow` (one reader per connection). What the
hub hands on is a hint, the log is the truth: the policy of a full queue is **catch up**. Its content is dropped, the
reader is told, and reads the log from where it stands. So a slow reader costs 64 messages and holds up nobody, and a
lost connection to Redis is the same case.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from app.errors import ServiceUnavailable
from app.live_log import (
    ALL_CHANNELS,
    STREAM_PREFIX,
    UNREACHABLE,
    Entry,
    channel,
    connect,
    heeding,
    parse_announcement,
)

QUEUE = 64
"""Announcements a connection may be behind before it has to read the log: a second of an exceedingly busy user."""

_IDLE_S = 5.0  # after this long without a word from Redis we ask whether it is there
_CONFIRM_S = 2.0
_MARKER = "live:hub"  # keeps the connection subscribed when nobody is here; its confirmation follows all others


class News(NamedTuple):
    """A message announced on a user's channel."""

    user_id: str
    entry: Entry


class Subscription:
    """What has been announced for one connection since it last looked; bounded."""

    def __init__(self, size: int = QUEUE) -> None:
        self._news: deque[News] = deque()
        self._size = size
        self._missed = False
        self._wake = asyncio.Event()

    def offer(self, news: News) -> None:
        """Never waits: a full queue is dropped and the reader catches up from the log."""
        if self._missed:
            return
        if len(self._news) >= self._size:
            self.miss()
            return
        self._news.append(news)
        self._wake.set()

    def miss(self) -> None:
        """Something may not have reached this queue."""
        self._news.clear()
        self._missed = True
        self._wake.set()

    def restart(self) -> None:
        """The reader is about to read the log: what is announced from now on counts again."""
        self._news.clear()
        self._missed = False
        self._wake.clear()

    async def take(self, timeout_s: float) -> list[News] | None:
        """What has come, waiting for it at most `timeout_s` (then empty); `None` when the reader must catch up."""
        if not self._wake.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
        self._wake.clear()
        if self._missed:
            return None
        news = list(self._news)
        self._news.clear()
        return news


class Hub:
    """Owns the subscription; `run` keeps it up until cancelled."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Redis = connect(redis_url)
        self._pubsub: PubSub | None = None
        self._readers: dict[str, set[Subscription]] = {}
        self._confirmations: dict[str, asyncio.Future[None]] = {}
        self._sending = asyncio.Lock()

    @property
    def connected(self) -> bool:
        return self._pubsub is not None

    async def run(self) -> None:
        """Stay subscribed. After every loss, each reader is told to catch up once the subscription stands again."""
        try:
            while True:
                with contextlib.suppress(*UNREACHABLE), heeding():
                    await self._listen()
                self._pubsub = None
                self._refuse_waiting()
                await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311  # jitter, not a secret
        finally:
            self._pubsub = None
            await self._redis.aclose()

    @asynccontextmanager
    async def subscribe(self, user_id: str, *, everyone: bool = False) -> AsyncIterator[Subscription]:
        """The announcements of one user, or of all, from now on. Raises `ServiceUnavailable` when Redis is away."""
        name = ALL_CHANNELS if everyone else channel(user_id)
        subscription = Subscription()
        readers = self._readers.setdefault(name, set())
        readers.add(subscription)
        try:
            await self._confirm(name)
            yield subscription
        finally:
            readers.discard(subscription)
            if not readers:
                await self._leave(name)

    async def _confirm(self, name: str) -> None:
        """Return when Redis has confirmed the subscription: what is appended from then on will be announced here."""
        pubsub = self._pubsub
        if pubsub is None:
            raise ServiceUnavailable("redis", "the live channel is not connected")
        pending = self._confirmations.get(name)
        if pending is None:
            pending = self._confirmations[name] = asyncio.get_running_loop().create_future()
            try:
                await self._send(pubsub, name)
            except BaseException as error:
                self._confirmations.pop(name, None)
                _refuse(pending)
                if isinstance(error, UNREACHABLE):
                    raise ServiceUnavailable("redis", "the live channel went away") from error
                raise
        try:
            async with asyncio.timeout(_CONFIRM_S):
                await asyncio.shield(pending)
        except TimeoutError as error:
            raise ServiceUnavailable("redis", "the live channel does not answer") from error

    async def _leave(self, name: str) -> None:
        if self._readers.get(name):
            return
        self._readers.pop(name, None)
        self._confirmations.pop(name, None)
        pubsub = self._pubsub
        if pubsub is not None:
            with contextlib.suppress(*UNREACHABLE):
                async with self._sending:
                    if name not in self._readers:
                        await (pubsub.punsubscribe(name) if name == ALL_CHANNELS else pubsub.unsubscribe(name))

    async def _send(self, pubsub: PubSub, *names: str) -> None:
        async with self._sending:
            plain = [name for name in names if name != ALL_CHANNELS]
            if ALL_CHANNELS in names:
                await pubsub.psubscribe(ALL_CHANNELS)
            if plain:
                await pubsub.subscribe(*plain)

    async def _listen(self) -> None:
        pubsub = self._redis.pubsub()
        try:
            self._confirmations = {
                name: asyncio.get_running_loop().create_future() for name in (*self._readers, _MARKER)
            }
            with heeding():
                await self._send(pubsub, *self._readers, _MARKER)
            silent = False
            while True:
                message = await pubsub.get_message(timeout=_IDLE_S)
                if message is not None:
                    silent = False
                    self._receive(pubsub, cast("dict[str, object]", message))
                elif silent:
                    raise TimeoutError("Redis does not answer on the live channel")
                else:
                    silent = True
                    with heeding():
                        await pubsub.ping()
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated

    def _receive(self, pubsub: PubSub, message: dict[str, object]) -> None:
        kind, data = message["type"], message["data"]
        name = cast("bytes", message["channel"] or b"").decode("utf-8", "replace")
        if kind in ("subscribe", "psubscribe"):
            self._confirmed(pubsub, name)
        elif kind in ("message", "pmessage") and isinstance(data, bytes):
            entry = parse_announcement(data)
            if entry is not None:
                news = News(name.removeprefix(STREAM_PREFIX), entry)
                for subscription in self._readers.get(ALL_CHANNELS if kind == "pmessage" else name, ()):
                    subscription.offer(news)

    def _confirmed(self, pubsub: PubSub, name: str) -> None:
        waiting = self._confirmations.get(name)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if name != _MARKER:
            return
        if self._pubsub is pubsub:
            raise ConnectionError("redis-py connected again on its own: announcements were missed")
        self._pubsub = pubsub
        for readers in self._readers.values():
            for subscription in readers:
                subscription.miss()

    def _refuse_waiting(self) -> None:
        waiting, self._confirmations = self._confirmations, {}
        for future in waiting.values():
            _refuse(future)


def _refuse(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_exception(ServiceUnavailable("redis", "the live channel went away"))
        waiting.exception()  # seen: perhaps nobody waits for it
