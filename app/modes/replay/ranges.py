"""Which offsets a replay of topics reads: its ends are fixed here. Below `app.modes.replay.sources`."""

import asyncio
from datetime import datetime, timedelta

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app import topic_admin
from app.agent import Agent
from app.errors import ConfigurationError
from app.modes.consuming.read import reader
from app.modes.replay.plan import EVERY, Order, Part, TopicRange
from app.settings import Settings
from app.topics import Found, Topic, predictions_of

EARLY = timedelta(hours=1)
"""How far a client's clock may be ahead: an event is logged at the earliest this long before it says it happened."""


class Ranges:
    """The parts of topics, asked of the broker; what is logged later is none of them."""

    def __init__(self, settings: Settings, wanted: TopicRange) -> None:
        self._settings, self._wanted, self._brokers = settings, wanted, settings.kafka or ""

    async def asked(self, topic: Topic, remembers: bool) -> list[Part]:
        """What is asked for; for whoever `remembers`, read from the beginning. Raises `ConfigurationError`."""
        found, wanted = await self._described(topic), self._wanted.offsets
        if excess := [number for number in wanted if number >= found.partitions]:
            raise ConfigurationError(f"topic {topic.name} has no partition {excess[0]}, it has {found.partitions}")
        numbers = sorted(wanted) if wanted and EVERY not in wanted else range(found.partitions)
        return list(await asyncio.gather(*(self._part(topic.name, number, remembers) for number in numbers)))

    async def whole(self, topic: Topic) -> list[Part]:
        """All there is, whatever is asked for. Raises `ConfigurationError`."""
        numbers = range((await self._described(topic)).partitions)
        return list(await asyncio.gather(*(self._whole(topic.name, number) for number in numbers)))

    async def orders(self, agent: Agent) -> dict[int, Order]:
        """Partition number -> what tells in which order the agent had read it; nothing where it never said anything."""
        topic = predictions_of(agent.consumes[0].kind)
        known = (await topic_admin.describe(self._settings, [topic])).topics
        parts = await self.whole(topic) if topic.name in known else []
        return {part.partition: Order(agent.name, part) for part in parts}

    async def _described(self, topic: Topic) -> Found:
        found = (await topic_admin.describe(self._settings, [topic])).topics.get(topic.name)
        if found is None:
            raise ConfigurationError(f"there is no topic {topic.name} on {self._settings.kafka}")
        return found

    async def _whole(self, topic: str, partition: int) -> Part:
        async with reader(self._brokers, topic, partition) as source:
            least, most = await source.bounds()
        return Part(topic, partition, least, least, most)

    async def _part(self, topic: str, partition: int, remembers: bool) -> Part:
        whole, wanted = await self._whole(topic, partition), self._wanted.offsets
        least, most = whole.first, whole.end
        start, end = wanted.get(partition) or wanted.get(EVERY) or (least, most)
        start, end = min(max(start, least), most), min(max(end, least), most)
        if self._wanted.since is not None:
            start = max(start, await self._logged(topic, partition, self._wanted.since - EARLY, end))
        return Part(topic, partition, least if remembers else start, start, max(end, start))

    async def _logged(self, topic: str, partition: int, since: datetime, end: int) -> int:
        """The first offset that was logged then or later."""
        where = TopicPartition(topic, partition)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._brokers, enable_auto_commit=False)
        await consumer.start()
        try:
            found = (await consumer.offsets_for_times({where: round(since.timestamp() * 1000)}))[where]
        finally:
            await consumer.stop()
        return end if found is None else int(found.offset)
