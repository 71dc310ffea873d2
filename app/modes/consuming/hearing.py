"""Tells a worker's states of topics that concern all partitions: read whole, by every worker, outside its group.

Beside `app.modes.consuming.group` in a worker: of the frauds of a terminal, the cards of every partition have to know. For topics
with few records only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from app.codec import Record
from app.errors import ServiceUnavailable

Tell = Callable[[Sequence[Record]], Awaitable[None]]

_WAIT_MS = 500
_PATIENCE_S = 30.0


class Hearing:
    """Follows whole topics from their end on; what lies before it, a state reads when it is restored.

    Args:
        tell: awaited with the records of one partition, in order, before anything newer is read.
    """

    def __init__(self, brokers: str, where: Sequence[TopicPartition], tell: Tell) -> None:
        self._brokers, self._where, self._tell = brokers, list(where), tell
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Be at the end of every partition. Raises `ServiceUnavailable` when no broker answers."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._brokers, enable_auto_commit=False, isolation_level="read_committed"
        )
        self._consumer = consumer
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await consumer.start()
                consumer.assign(self._where)
                await consumer.seek_to_end(*self._where)
                for where in self._where:
                    await consumer.position(where)
        except (KafkaError, TimeoutError) as error:
            await self.close()
            raise ServiceUnavailable("kafka", f"{type(error).__name__}: {error}") from error

    async def run(self) -> None:
        """Tell of what comes, until cancelled; what has been fetched is told to its end, as a group finishes what is in hand.

        Cut short, a state would have taken in what its offsets do not say, and its last snapshot would count that twice. An
        outage of the broker is waited for, as in a group.
        """
        assert self._consumer is not None  # noqa: S101 - started first
        try:
            while True:
                fetched = await self._consumer.getmany(timeout_ms=_WAIT_MS)
                telling = asyncio.create_task(self._tell_of(fetched))
                try:
                    await asyncio.shield(telling)
                except asyncio.CancelledError:
                    await telling
                    raise
        finally:
            await self.close()

    async def _tell_of(self, fetched: Mapping[TopicPartition, Sequence[Any]]) -> None:
        for where, records in fetched.items():
            await self._tell(
                [
                    Record(where.topic, where.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
                    for r in records
                ]
            )

    async def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()
