"""What lies in the dead-letter topic, by the record it is about, and sending those records back where they came from.

Behind `millrace dlq`; `app.modes.scoring.dead_letters` writes what is read here.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app.bus import Outgoing, Producer, deliver
from app.codec import Headers, Record, header
from app.modes.consuming.read import reader
from app.topics import DEAD_LETTERS

GROUP = "millrace.dlq"
"""Its committed offsets say which dead letters have been sent back."""


@dataclass
class Origin:
    """A record somebody could not handle.

    Attributes:
        said: agent -> (cause, error, when).
        headers: as the record came.
        omitted_bytes: the size of a record too large for the dead-letter topic: it is not here, and cannot be sent back.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    omitted_bytes: int = 0
    said: dict[str, tuple[str, str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Box:
    """Dead letters by origin, oldest first, and the offsets up to which they were read."""

    origins: Sequence[Origin]
    ends: dict[TopicPartition, int]


async def look(brokers: str, partitions: int, *, everything: bool = False) -> Box:
    """The dead letters not sent back yet, or everything that is kept. Raises `ServiceUnavailable`."""
    origins: dict[_Place, Origin] = {}
    ends: dict[TopicPartition, int] = {}
    for partition in range(partitions):
        where = TopicPartition(DEAD_LETTERS.name, partition)
        done = 0 if everything else await _sent_back(brokers, where)
        async with reader(brokers, *where) as source:
            start, ends[where] = await source.bounds()
            async for records in source.records(max(start, done), ends[where]):
                for record in records:
                    _enter(origins, record)
    return Box(list(origins.values()), ends)


async def send_back(brokers: str, producer: Producer, box: Box) -> int:
    """Deliver the origins to their topics and partitions, as they were; returns how many. Omitted ones stay where they lie.

    Every agent of the topic reads them anew; those that had answered answer again, with the same ids.
    """
    records = [Outgoing(o.topic, o.key, o.value, o.headers, o.partition) for o in box.origins if not o.omitted_bytes]
    await deliver(producer, records)
    async with _bookkeeper(brokers, list(box.ends)) as consumer:
        await consumer.commit(box.ends)
    return len(records)


_Place = tuple[str, str, str, bytes | None]
"""Where a record lies, and what of it could not be handled: all, or a row of its columns."""


def _enter(origins: dict[_Place, Origin], record: Record) -> None:
    said = {name.removeprefix("dlq."): value.decode() for name, value in record.headers if name.startswith("dlq.")}
    if not {"topic", "partition", "offset"} <= said.keys():
        return  # not written by us: there is no saying where it belongs
    place = (said["topic"], said["partition"], said["offset"], record.value)
    if place not in origins:
        headers = tuple(h for h in record.headers if not h[0].startswith("dlq."))
        where, omitted = (place[0], int(place[1]), int(place[2])), int(said.get("omitted_bytes", "0"))
        origins[place] = Origin(*where, record.key, record.value, headers, omitted)
    agent = header(record.headers, "dlq.agent") or "?"
    origins[place].said[agent] = (said.get("cause", ""), said.get("error", ""), said.get("at", ""))


async def _sent_back(brokers: str, where: TopicPartition) -> int:
    async with _bookkeeper(brokers, [where]) as consumer:
        return await consumer.committed(where) or 0


@asynccontextmanager
async def _bookkeeper(brokers: str, partitions: list[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        yield consumer
    finally:
        await consumer.stop()
