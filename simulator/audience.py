"""Everybody's live channel at once: one websocket per simulated user, as in life, each resuming what it missed.

Beside the senders: it hears how the system answers them. (The operator's view of all users is for looking on: the gateway
does not make up for what that view misses, and a report must not miss anything.)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from random import Random
from typing import Self

from app.live import AnyLive, Connected
from simulator.badges import Badges
from simulator.client import LiveClient

CONNECTING = 50
"""Handshakes under way at once: a crowd at the door must not be mistaken for an attack."""


class Audience:
    """The connections of these users.

    Args:
        hear: told of every message, of whomever.
    """

    def __init__(
        self, url: str, badges: Badges, users: Iterable[str], hear: Callable[[AnyLive], None], rng: Random
    ) -> None:
        self._hear = hear
        self.clients = [LiveClient(url, partial(badges.of, user), patience_s=120, rng=rng) for user in users]
        self._door = asyncio.Semaphore(CONNECTING)

    @property
    def repeats(self) -> int:
        """Messages that came twice to the same user."""
        return sum(client.repeats for client in self.clients)

    @property
    def reconnects(self) -> int:
        return sum(client.reconnects for client in self.clients)

    @asynccontextmanager
    async def gathered(self) -> AsyncIterator[Self]:
        """Inside, all connections stand. Raises, in an exception group, what ended one for good."""
        standing = [asyncio.Event() for _ in self.clients]
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(self._listen(*pair)) for pair in zip(self.clients, standing, strict=True)]
            try:
                for stands in standing:
                    await stands.wait()
                yield self
            finally:
                for task in listening:
                    task.cancel()

    async def _listen(self, client: LiveClient, stands: asyncio.Event) -> None:
        await self._door.acquire()
        async with aclosing(client.messages()) as messages:
            async for message in messages:
                if isinstance(message, Connected) and not stands.is_set():
                    stands.set()
                    self._door.release()
                self._hear(message)
