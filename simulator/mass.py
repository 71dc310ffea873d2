"""Puts events straight onto the topics, thousands a second, past the gateway: the loader of tests and benchmarks.

The other sender beside `courier`. It can mix in poison: records no consumer can read, of every kind there is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from random import Random
from uuid import UUID

from app.bus import Outgoing, Producer
from app.codec import context, encode
from app.errors import DeliveryFailed
from app.events import AnyEvent
from app.topics import topic_of
from simulator.backoff import wait_s
from simulator.pace import Due, Witness
from simulator.tally import Tally

BATCH = 1000
WAITING = 20_000
"""Events that wait for the producer before the pacer is held up."""

POISONS: dict[str, Callable[[bytes], bytes | None]] = {
    "bad JSON": lambda value: value[: len(value) // 2],
    "not UTF-8": lambda value: b'{"type": "\xff\xfe"}',  # noqa: ARG005  # one signature for all
    "empty": lambda value: b"",  # noqa: ARG005
    "null": lambda value: None,  # noqa: ARG005
    "not an object": lambda value: b'[1, 2, "three"]',  # noqa: ARG005
    "wrong types": lambda value: value.replace(b'"at":"', b'"at":[7],"was":"', 1),
    "out of range": lambda value: value.replace(b'"event_id":"', b'"event_id":"!', 1),
    "unknown version": lambda value: value.replace(b".v1", b".v9", 1),
}
"""What can be wrong with a record, by name, as a change to a good one."""


class MassLoader:
    """Sends events in batches through a `Producer`; one batch at a time, so a user's events stay in order.

    Args:
        producer: where to; a failed batch is sent again until `patience_s` is spent, then `DeliveryFailed` goes on.
        poison: the share of all records that are bad, 0 to below 1; they come in between and replace nothing.
        witness: told of each event before it is sent.
    """

    def __init__(
        self,
        producer: Producer,
        *,
        poison: float = 0.0,
        patience_s: float = 120.0,
        witness: Witness | None = None,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        self._producer, self._patience_s, self._witness, self._clock = producer, patience_s, witness, clock
        self._rng, self._odds = rng or Random(), poison / (1.0 - poison)
        self._waiting: asyncio.Queue[Due | None] = asyncio.Queue(WAITING)

    async def run(self, events: AsyncIterator[Due]) -> None:
        """Send all events; returns when Kafka has acknowledged every one."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._drain())
            async for due in events:
                await self._waiting.put(due)
            await self._waiting.put(None)

    async def _drain(self) -> None:
        """Takes what has come, up to a batch, and delivers it."""
        ended = False
        while not ended:
            batch = [await self._waiting.get()]
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            ended = batch[-1] is None
            await self._deliver([due for due in batch if due is not None])

    async def _deliver(self, batch: list[Due]) -> None:
        records: list[Outgoing] = []
        for due in batch:
            if self._witness:
                self._witness.posting(due.event, due.due, self._clock())
            records += self._records(due.event)
        started, attempt = self._clock(), 0
        while True:
            try:
                await self._producer.send(records)
                break
            except DeliveryFailed:
                if self._clock() - started > self._patience_s:
                    raise
                self.tally.retries += 1
                await asyncio.sleep(wait_s(attempt, self._rng))
                attempt += 1
        self.tally.events.update(type(due.event).__name__ for due in batch)
        self.tally.poisoned += len(records) - len(batch)

    def _records(self, event: AnyEvent) -> list[Outgoing]:
        """The record of an event, and now and then a bad one before it."""
        topic, key, value = topic_of(event).name, event.key.encode(), encode(event)
        span = UUID(int=self._rng.getrandbits(128), version=4).hex
        record = Outgoing(topic, key, value, context(event, f"00-{span}-{span[:16]}-01"))
        return [*self._poison(topic, key, value), record]

    def _poison(self, topic: str, key: bytes, value: bytes) -> list[Outgoing]:
        whole, part = divmod(self._odds, 1.0)
        bad = []
        for _ in range(int(whole) + (self._rng.random() < part)):
            name = self._rng.choice(tuple(POISONS))
            bad.append(Outgoing(topic, key, POISONS[name](value), (("poison", name.encode()),)))
        return bad
