"""Reads a range of one partition, outside any consumer group: snapshots, what followed them, and the past."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from app.codec import Record
from app.errors import ServiceUnavailable
from app.modes.consuming.unpacking import arrival, unpack

SILENCE = timedelta(seconds=30)
"""A broker that answers nothing for so long is taken to be away."""

_LOOK_S = 1.0
"""After which it is asked whether there is an end at all: a compacted range may hold nothing more."""


class Reader:
    """A consumer of one partition that belongs to no group and commits nothing."""

    def __init__(self, consumer: AIOKafkaConsumer, where: TopicPartition) -> None:
        self._consumer, self._where = consumer, where

    async def bounds(self) -> tuple[int, int]:
        """The first offset there is, and the one up to which it can be read, see `ends`. Raises `ServiceUnavailable`."""
        async with _answers():
            first = await self._consumer.beginning_offsets([self._where])
            end = await self._consumer.end_offsets([self._where])
        return first[self._where], end[self._where]

    async def records(self, start: int, end: int) -> AsyncIterator[list[Record]]:
        """What lies at offsets `start` to `end`, `end` excluded, in pieces as fetched. Raises `ServiceUnavailable`."""
        where = self._where
        self._consumer.seek(where, start)
        while True:
            async with _answers():
                if await self._consumer.position(where) >= end:
                    return
                unpack(self._consumer)
                fetched = await self._consumer.getmany(where)
                if not fetched and await self._consumer.position(where) < end:
                    await arrival(self._consumer, _LOOK_S)
            records: Sequence[Record] = fetched.get(where, ())
            if records and records[-1].offset >= end:
                records = [record for record in records if record.offset < end]
            if records:
                yield list(records)


@asynccontextmanager
async def reader(brokers: str, topic: str, partition: int) -> AsyncIterator[Reader]:
    """A connected reader. Raises `ServiceUnavailable` when no broker answers.

    One per partition: aiokafka's consumer may never stop when it was assigned anew just before.
    """
    where = TopicPartition(topic, partition)
    consumer = _consumer(brokers)
    try:
        async with _answers():
            await consumer.start()
        consumer.assign([where])
        await asyncio.sleep(0)  # lets aiokafka's tasks begin: to stop one that has not raises CancelledError
        yield Reader(consumer, where)
    finally:
        await consumer.stop()


async def ends(brokers: str, where: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Up to where each of these partitions can be read, asked at once. Raises `ServiceUnavailable`.

    That is where a transaction begins that is open; else behind the last record, or what else the log ends with.
    """
    if not where:
        return {}
    consumer = _consumer(brokers)
    try:
        async with _answers():
            await consumer.start()
            found: dict[TopicPartition, int] = await consumer.end_offsets(where)
        return found
    finally:
        await consumer.stop()


def _consumer(brokers: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=brokers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )


@asynccontextmanager
async def _answers() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(SILENCE.total_seconds()):
            yield
    except (KafkaError, TimeoutError) as error:
        raise ServiceUnavailable("kafka", f"{type(error).__name__}: {error}") from error
