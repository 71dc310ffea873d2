"""What lies in the dead-letter topic, by the record it is about, and sending those records back where they came from.

Behind `millrace dlq`; `app.modes.scoring.dead_letters` writes what is read here.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from app.bus import Outgoing, Producer, deliver
from app.codec import Headers, Record
from app.errors import ServiceUnavailable
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
    everywhere = [TopicPartition(DEAD_LETTERS.name, partition) for partition in range(partitions)]
    done = {} if everything or not everywhere else await _sent_back(brokers, everywhere)
    for where in everywhere:
        async with reader(brokers, *where) as source:
            start, ends[where] = await source.bounds()
            async for records in source.records(max(start, done.get(where, 0)), ends[where]):
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


_Place = tuple[str, int, int, bytes | None]
"""Where a record lies, and what of it could not be handled: all, or a row of its columns."""


def _enter(origins: dict[_Place, Origin], record: Record) -> None:
    try:
        said = {name.removeprefix("dlq."): value.decode() for name, value in record.headers if name.startswith("dlq.")}
        topic, partition, offset = said["topic"], int(said["partition"]), int(said["offset"])
        omitted = int(said.get("omitted_bytes", "0"))
    except (KeyError, ValueError):
        return  # not written by us: there is no saying where it belongs
    place = (topic, partition, offset, record.value)
    if place not in origins:
        headers = tuple(h for h in record.headers if not h[0].startswith("dlq."))
        origins[place] = Origin(topic, partition, offset, record.key, record.value, headers, omitted)
    judged = (said.get("cause", ""), said.get("error", ""), said.get("at", ""))
    origins[place].said[said.get("agent", "?")] = judged


async def _sent_back(brokers: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Up to where the dead letters of each partition have been sent back."""
    async with _bookkeeper(brokers, partitions) as consumer:
        return {where: await consumer.committed(where) or 0 for where in partitions}


@asynccontextmanager
async def _bookkeeper(brokers: str, partitions: Sequence[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that reads nothing, and has the offsets of `GROUP`. Raises `ServiceUnavailable`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, group_id=GROUP, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(partitions)
        yield consumer
    except KafkaError as error:
        raise ServiceUnavailable("kafka", f"{type(error).__name__}: {error}") from error
    finally:
        await consumer.stop()
