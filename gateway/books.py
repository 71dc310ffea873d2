"""Kafka's books: how far each topic reaches and how far each consumer group has come. Read-only, for `gateway.status`."""

import asyncio
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.asking.requests import REQUESTS_SUFFIX
from app.brokers import members
from app.errors import ServiceUnavailable
from app.modes.dlq import GROUP as DLQ_GROUP
from app.topics import CARD_PREDICTIONS, EVENTS, PREDICTIONS

GROUP_PREFIX = "millrace."
TOPICS = tuple(topic.name for topic in (*EVENTS, PREDICTIONS, CARD_PREDICTIONS))

Ends = dict[tuple[str, int], int]
"""(topic, partition) -> the offset its next record will get."""


class Group(NamedTuple):
    """A consumer group: `lag` counts the records of the partitions it has committed on.

    An agent's second group, which answers requests, is not listed: it has members when the first one has. Nor is that of
    `millrace dlq`, a tool that nobody runs all the time.
    """

    name: str
    members: int
    lag: int


class Books:
    """Asks Kafka; connects when first asked and again after a failure. Raises `ServiceUnavailable` ("kafka")."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._consumer: Any = None
        self._admin: Any = None

    async def ends(self) -> Ends:
        """The ends of the partitions of the topics of events and predictions, as far as they exist."""
        try:
            consumer = await self._connected()
            partitions = await self._partitions()
            ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions) if partitions else {}
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise ServiceUnavailable("kafka", f"it does not answer: {error!r}") from error
        return {(place.topic, place.partition): end for place, end in ends.items()}

    async def groups(self, ends: Ends) -> list[Group]:
        """Millrace's consumer groups by name, measured against `ends`."""
        try:
            names = sorted(
                name
                for name, _ in await self._admin.list_consumer_groups()
                if name.startswith(GROUP_PREFIX) and not name.endswith(REQUESTS_SUFFIX) and name != DLQ_GROUP
            )
            found = await self._members(names)
            committed = await asyncio.gather(*(self._admin.list_consumer_group_offsets(name) for name in names))
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise ServiceUnavailable("kafka", f"it does not answer: {error!r}") from error
        return [Group(name, found[name], _lag(offsets, ends)) for name, offsets in zip(names, committed, strict=True)]

    async def close(self) -> None:
        consumer, admin, self._consumer, self._admin = self._consumer, self._admin, None, None
        if consumer is not None:
            await consumer.stop()
        if admin is not None:
            await admin.close()

    async def _partitions(self) -> list[TopicPartition]:
        """Asked each time: topics may be created, or be given more partitions, any moment."""
        described = await self._admin.describe_topics(list(TOPICS))
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]

    async def _members(self, names: list[str]) -> dict[str, int]:
        counts = await asyncio.gather(*(members(self._admin, name) for name in names))
        found = {}
        for name, count in zip(names, counts, strict=True):
            if count is None:
                raise ServiceUnavailable("kafka", f"it cannot say yet who is in {name}")
            found[name] = count
        return found

    async def _connected(self) -> Any:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(bootstrap_servers=self._kafka, request_timeout_ms=5000)
            admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka, request_timeout_ms=5000)
            try:
                await consumer.start()
                await admin.start()
            except BaseException:
                await consumer.stop()
                await admin.close()
                raise
            self._consumer, self._admin = consumer, admin
        return self._consumer


def _lag(offsets: dict[TopicPartition, Any], ends: Ends) -> int:
    behind = ((ends.get((place.topic, place.partition)), committed.offset) for place, committed in offsets.items())
    return sum(max(0, end - max(offset, 0)) for end, offset in behind if end is not None)
