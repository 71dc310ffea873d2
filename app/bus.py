"""The way out to Kafka: records are handed over in batches and are *delivered* when the call returns.

Used by the loop, the decision worker and the gateway; `app.testing.MemoryBus` keeps the same contract without a broker.
"""

import asyncio
import random
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol, overload

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from app.codec import Headers
from app.errors import DeliveryFailed, InvalidMessage

REQUEST_TIMEOUT_S = 40.0
"""A shorter one turns a 20 s outage of a broker into failed sends: 99 of 1,870 at 5 s, none at 40 s (measured)."""

DELIVERY_DEADLINE_S = 60.0
"""What a call may take in all: one request that times out, and one more."""

POST_S = 0.1
"""How long `post` may take: what it sends is of no use after a few tenths of a second."""

CLOSE_S = 1.0
"""How long `close` waits for what was only posted: a broker that takes it does so in milliseconds, and whoever supervises
a worker kills it after ten seconds."""

MAX_RECORD_BYTES = 20 << 20
"""The largest record sent: a dead letter, or a snapshot of a state. What else a topic takes is the broker's to say."""

_BATCH_BYTES = 512 << 10
_WHOLE_BATCHES_FROM = 32
"""From so many records on, batches are built here instead of record by record: as fast at 32, twice at 128 (1.0 ms for
2.3 ms), three times at 4,096 (31 ms for 92 ms), on Apache Kafka 4.1 with 350-byte values."""


class Outgoing(NamedTuple):
    """A record to be sent; without a partition, its key chooses (Kafka's murmur2, as every client does)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Delivered(NamedTuple):
    """Where a record came to lie."""

    topic: str
    partition: int
    offset: int


class Producer(Protocol):
    """Sends records; one per process is enough."""

    async def send(self, records: Sequence[Outgoing]) -> Sequence[Delivered]:
        """Deliver all of them, in order per key. Raises `DeliveryFailed` when any was not acknowledged in time.

        After a failure the fate of each is unknown: send the same records again; every reader is idempotent. A record
        that can never be delivered, being larger than its topic takes, is an `InvalidMessage` instead.
        """
        ...

    async def post(self, records: Sequence[Outgoing]) -> None:
        """Hand records over and go on, whatever becomes of them: for what is of no use when it comes late.

        With a `send` right behind it they travel in one request.
        """
        ...

    async def close(self) -> None: ...


async def deliver(producer: Producer, records: Sequence[Outgoing], tries: int = 5) -> Sequence[Delivered]:
    """Send until delivered: again after a failure, with a growing, jittered pause, `tries` times in all.

    Raises `DeliveryFailed` after the last; a worker then ends without a commit, and its successor repeats the work.
    """
    for attempt in range(1, tries):
        try:
            return await producer.send(records)
        except DeliveryFailed as error:
            await asyncio.sleep(min(10.0, error.retry_after_s * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))  # noqa: S311
    return await producer.send(records)


@lru_cache(maxsize=1 << 16)
def _hash(key: bytes) -> int:
    """Kafka's hash of a key; cached, for it is computed in Python and keys come back."""
    return int(murmur2(key)) & 0x7FFFFFFF


def partition_of(key: bytes | None, partitions: int) -> int:
    """The partition every Kafka client chooses for this key; any, for a record without one.

    Example:
        >>> partition_of(b"user-1", 4)
        0
    """
    return random.randrange(partitions) if key is None else _hash(key) % partitions  # noqa: S311


class KafkaProducer:
    """`Producer` over aiokafka; connects when it first sends, or with `start`.

    Not idempotent in Kafka's sense: that spares no reader from being idempotent (a worker that dies after sending sends
    again under another producer id), and aiokafka's can stick on OutOfOrderSequence (aiokafka #1017). Order per key
    holds without it: aiokafka has one request per partition on its way and repeats that one before the next.

    Args:
        brokers: `host:port[,host:port]`.
    """

    def __init__(self, brokers: str, client_id: str = "millrace") -> None:
        self._brokers, self._client_id = brokers, client_id
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._sending, self._sent = 0, asyncio.Event()

    async def start(self) -> AIOKafkaProducer:
        """Connect, if not connected. Raises `DeliveryFailed` when no broker answers."""
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._brokers,
                    client_id=self._client_id,
                    acks="all",
                    linger_ms=0,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=MAX_RECORD_BYTES,
                    request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
                )
                try:
                    await producer.start()
                except KafkaError as error:
                    await producer.stop()
                    raise DeliveryFailed(f"no broker of {self._brokers} answers: {error}") from error
                self._producer = producer
        return self._producer

    async def send(self, records: Sequence[Outgoing]) -> Sequence[Delivered]:
        """See `Producer.send`."""
        if not records:
            return []
        self._sending += 1
        try:
            async with asyncio.timeout(DELIVERY_DEADLINE_S):
                return await self._deliver(records)
        except MessageSizeTooLargeError as error:
            raise InvalidMessage(f"larger than its topic takes: {error}") from error
        except KafkaError as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}") from error
        except TimeoutError as error:
            raise DeliveryFailed(f"not acknowledged within {DELIVERY_DEADLINE_S:.0f} s") from error
        finally:
            self._sending -= 1
            self._sent.set()

    async def _deliver(self, records: Sequence[Outgoing]) -> Sequence[Delivered]:
        producer = await self.start()
        if len(records) >= _WHOLE_BATCHES_FROM or any(r.key is None and r.value is None for r in records):
            return await _send_batches(producer, records)  # also for empty records, which `send` asserts against
        return await _send_each(producer, records)

    async def post(self, records: Sequence[Outgoing]) -> None:
        """See `Producer.post`; a broker that takes nothing is waited for no longer than `POST_S`."""
        with suppress(KafkaError, DeliveryFailed, TimeoutError):
            async with asyncio.timeout(POST_S):
                producer = await self.start()
                for record in records:
                    (await _put(producer, record)).add_done_callback(_seen)

    async def close(self) -> None:
        """Deliver what is being sent and disconnect; what was only posted may take `CLOSE_S`."""
        while self._sending:  # each ends by its own deadline
            self._sent.clear()
            await self._sent.wait()
        async with self._starting:
            producer, self._producer = self._producer, None
            if producer is not None:
                await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Disconnect; what is not delivered by then is given up after `CLOSE_S`.

    Past aiokafka's `stop`, which waits for a partition without a leader as long as a request may take (aiokafka 0.14).
    """
    try:
        async with asyncio.timeout(CLOSE_S):
            await producer.stop()
    except TimeoutError:
        sender = producer._sender.sender_task  # noqa: SLF001
        while not sender.done():  # told once, it waits for the requests under way
            sender.cancel()
            await asyncio.wait({sender}, timeout=POST_S)
        producer._message_accumulator.fail_all(KafkaTimeoutError())  # noqa: SLF001
        await producer.client.close()


async def _send_each(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[Delivered]:
    """Record by record: what goes to the same partition still travels together."""
    done = await asyncio.gather(*[await _put(producer, record) for record in records])
    return [Delivered(where.topic, where.partition, where.offset) for where in done]


async def _put(producer: AIOKafkaProducer, record: Outgoing) -> "asyncio.Future[RecordMetadata]":
    """Hand one record over; the future is its delivery. It waits only while the record's partition has no room."""
    sent: asyncio.Future[RecordMetadata] = await producer.send(
        record.topic,
        record.value,
        key=record.key,
        partition=await _partition(producer, record),
        headers=list(record.headers),
    )
    return sent


def _seen(delivery: "asyncio.Future[RecordMetadata]") -> None:
    """Nobody asks how it ended."""
    if not delivery.cancelled():
        delivery.exception()


async def _send_batches(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> "_Places":
    """Whole batches per partition, each built here and sent as one."""
    rows: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for row, record in enumerate(records):
        rows[record.topic, record.partition].append(row)
    for topic in {topic for topic, partition in rows if partition is None}:
        count = len(await producer.partitions_for(topic))
        for row in rows.pop((topic, None)):
            rows[topic, partition_of(records[row].key, count)].append(row)
    sending = (_send_to(producer, topic, int(partition or 0), records, of) for (topic, partition), of in rows.items())
    return _Places(len(records), [part for parts in await asyncio.gather(*sending) for part in parts])


async def _send_to(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Outgoing], rows: Sequence[int]
) -> list["_Part"]:
    """Send the records of these rows, in order, to one partition."""
    pending: list[tuple[Sequence[int], asyncio.Future[Delivered]]] = []
    while rows:
        batch = producer.create_batch()
        taken = _fill(batch, [records[row] for row in rows])
        pending.append((rows[:taken], await producer.send_batch(batch, topic, partition=partition)))
        rows = rows[taken:]
    return [_Part(topic, partition, inside, (await sent).offset) for inside, sent in pending]


def _fill(batch: BatchBuilder, records: Sequence[Outgoing]) -> int:
    """Put records into an empty batch until it is full; how many it took, at least one.

    Past `BatchBuilder.append`, which takes 1.1 microseconds a record where the compiled builder inside takes 0.8 (aiokafka 0.14).
    """
    append, at_ms, taken = batch._builder.append, time.time_ns() // 1_000_000, 0  # noqa: SLF001
    for _, key, value, headers, _ in records:
        if append(taken, at_ms, key, value, headers if type(headers) is list else list(headers)) is None:
            break
        taken += 1
    batch._relative_offset = taken  # noqa: SLF001
    return taken


class _Part(NamedTuple):
    """Rows of one call that went out as one batch, and the offset of the first."""

    topic: str
    partition: int
    rows: Sequence[int]
    offset: int


class _Places(Sequence[Delivered]):
    """Where each of a call's records came to lie; worked out when somebody asks, which for predictions nobody does."""

    def __init__(self, count: int, parts: Sequence[_Part]) -> None:
        self._count, self._parts = count, parts

    @cached_property
    def _all(self) -> list[Delivered]:
        found: dict[int, Delivered] = {}
        for topic, partition, rows, offset in self._parts:
            found.update((row, Delivered(topic, partition, offset + place)) for place, row in enumerate(rows))
        return [found[row] for row in range(self._count)]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> Delivered: ...
    @overload
    def __getitem__(self, row: slice) -> list[Delivered]: ...
    def __getitem__(self, row: int | slice) -> Delivered | list[Delivered]:
        return self._find(row) if isinstance(row, int) and row >= 0 else self._all[row]

    def __iter__(self) -> Iterator[Delivered]:
        return iter(self._all)

    def _find(self, row: int) -> Delivered:
        """One of them: the decision worker asks for a few in a thousand."""
        for topic, partition, rows, offset in self._parts:
            place = bisect_left(rows, row)
            if place < len(rows) and rows[place] == row:
                return Delivered(topic, partition, offset + place)
        raise IndexError(row)


async def _partition(producer: AIOKafkaProducer, record: Outgoing) -> int:
    if record.partition is not None:
        return record.partition
    return partition_of(record.key, len(await producer.partitions_for(record.topic)))
