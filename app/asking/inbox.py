"""Where the answers come in: one partition of the topic `replies`, claimed by this process for as long as it lives.

The claim is a lease in Redis, so that no gateway reads another's answers. It only spares work: an answer names its asker, so
two processes on one partition, as there may be while Redis is away, ignore each other's. Below `app.asking.asker`.
"""

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from app.asking.requests import MAX_REPLY_BYTES, MAX_WITHIN_S
from app.codec import Record
from app.live_log import UNREACHABLE, connect
from app.topics import REPLIES

log = logging.getLogger(__name__)

Hear = Callable[[Sequence[Record]], None]

LEASE_S = 10.0
"""A process that was killed leaves its partition free after this long."""

RENEW_S = 3.0
_RETRY_S = 1.0
_OPEN_S = 10.0
_FETCH_WAIT_MS = 500
"""An answer that comes ends the wait at once; this is how often an idle process asks in vain."""

# KEYS: one per partition. ARGV: who, ttl (ms), the partition held so far (or -1). The one held, else the lowest free, else -1.
_CLAIM = """
local function take(n)
  local holder = redis.call('GET', KEYS[n + 1])
  if holder and holder ~= ARGV[1] then return false end
  redis.call('SET', KEYS[n + 1], ARGV[1], 'PX', ARGV[2])
  return true
end
local held = tonumber(ARGV[3])
if held >= 0 and take(held) then return held end
for n = 0, #KEYS - 1 do
  if take(n) then return n end
end
return -1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Inbox(Protocol):
    """Where answers come in."""

    @property
    def partition(self) -> int | None:
        """Of the topic `replies`: where an answer reaches us; `None` while none does."""
        ...

    async def run(self, hear: Hear) -> None:
        """Hand on what comes in, until cancelled."""
        ...


class Lease:
    """Which partition this process holds, by Redis' word; any, where Redis says nothing."""

    def __init__(self, redis_url: str | None, partitions: int) -> None:
        self._redis = connect(redis_url, timeout_s=1.0) if redis_url else None
        self._keys = [f"replies:{number}" for number in range(partitions)]
        self._holder = secrets.token_hex(8)

    async def claim(self, held: int | None = None) -> int:
        """The partition to read: the one held so far, if nobody else has it, else the lowest that is free."""
        found = -1
        if self._redis is not None:
            try:
                claim = self._redis.eval(
                    _CLAIM,
                    len(self._keys),
                    *self._keys,
                    self._holder,
                    f"{LEASE_S * 1000:.0f}",
                    str(-1 if held is None else held),
                )
                found = int(await claim)
            except UNREACHABLE:
                found = -1 if held is None else held
        if found >= 0:
            return found
        return random.randrange(len(self._keys)) if held is None else held  # noqa: S311 - to share, not a secret

    async def close(self, held: int | None) -> None:
        """Give the partition back, so that the next process need not wait for the lease to end."""
        if self._redis is None:
            return
        with contextlib.suppress(*UNREACHABLE):  # it ends by itself
            if held is not None:
                await self._redis.eval(_RELEASE, 1, self._keys[held], self._holder)
        await self._redis.aclose()


class KafkaInbox:
    """The partition that the lease says, read from its end on."""

    def __init__(self, kafka: str, redis_url: str | None) -> None:
        self._kafka, self._lease = kafka, Lease(redis_url, REPLIES.partitions or 1)
        self._partition: int | None = None
        self._failing = False
        self._reading: asyncio.Task[None] | None = None
        self._readings: set[asyncio.Task[None]] = set()

    @property
    def partition(self) -> int | None:
        return self._partition

    async def run(self, hear: Hear) -> None:
        """See `Inbox.run`; a broker that is away is tried again."""
        try:
            while True:
                claimed = await self._lease.claim(self._partition)
                if claimed != self._partition or self._reading is None or self._reading.done():
                    await self._move(claimed, hear)
                await asyncio.sleep(_RETRY_S if self._partition is None else RENEW_S)
        finally:
            for reading in self._readings:
                reading.cancel()
            await asyncio.gather(*self._readings, return_exceptions=True)
            await self._lease.close(self._partition)

    async def _move(self, to: int, hear: Hear) -> None:
        """Read this partition from now on; the one before for as long as answers may still come there."""
        try:
            consumer = await _at_end(self._kafka, to)
        except (KafkaError, TimeoutError) as error:
            log.log(logging.DEBUG if self._failing else logging.WARNING, "no answer can come in yet: %r", error)
            self._failing = True
            return
        self._failing = False
        before, self._reading = self._reading, asyncio.create_task(_read(consumer, hear), name=f"replies/{to}")
        self._partition = to
        self._readings.add(self._reading)
        self._reading.add_done_callback(self._ended)
        if before is not None:
            asyncio.get_running_loop().call_later(MAX_WITHIN_S, before.cancel)

    def _ended(self, reading: "asyncio.Task[None]") -> None:
        self._readings.discard(reading)
        if not reading.cancelled() and (error := reading.exception()) is not None:
            log.warning("reading the answers ended and begins anew: %s", error)


async def _at_end(kafka: str, partition: int) -> AIOKafkaConsumer:
    """A consumer that will get what is written from now on. Raises `KafkaError` or `TimeoutError`.

    Unlike all others it reads what is not committed, too: our workers answer without transactions, and one that a stranger left
    open would hold every answer back.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="millrace.replies",
        enable_auto_commit=False,
        auto_offset_reset="latest",
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=2 * MAX_REPLY_BYTES,
    )
    where = TopicPartition(REPLIES.name, partition)
    try:
        async with asyncio.timeout(_OPEN_S):
            await consumer.start()
            consumer.assign([where])
            await consumer.seek_to_end(where)
            await consumer.position(where)  # what is asked from now on is answered behind it
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def _read(consumer: AIOKafkaConsumer, hear: Hear) -> None:
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=1000)
            for (topic, partition), records in fetched.items():
                hear([Record(topic, partition, r.offset, r.timestamp, r.key, r.value) for r in records])
    finally:
        await consumer.stop()
