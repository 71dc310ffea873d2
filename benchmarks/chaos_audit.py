"""What a chaos run must have left behind in Kafka and in the store, checked record by record."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.agent import find, names
from app.bus import Delivered
from app.codec import Decoder, Record, header
from app.decisions import Decision
from app.settings import Settings
from app.topics import DEAD_LETTERS, DECISIONS

Position = tuple[str, int, int]


async def audit(settings: Settings, events: set[str], bad: Iterable[Delivered]) -> list[str]:
    """Every event has one first decision, whatever is repeated is the same, and dead letters are exactly the bad records.

    Args:
        settings: of the system.
        events: ids of the opening events the gateway accepted.
        bad: where the bad records lie.
    """
    decisions = [record async for record in read(settings, DECISIONS.name)]
    letters = [record async for record in read(settings, DEAD_LETTERS.name)]
    return [
        *_decisions(decisions, events),
        *_dead_letters(letters, {(where.topic, where.partition, where.offset) for where in bad}),
    ]


def _decisions(records: list[Record], events: set[str]) -> Iterator[str]:
    decoder: Decoder[Decision] = Decoder(Decision)
    contents: dict[str, set[bytes | None]] = defaultdict(set)
    latest: dict[str, Decision] = {}
    for record in records:
        decision = decoder.decode(record.value)
        contents[decision.decision_id].add(record.value)
        if decision.event_id not in latest or decision.revision >= latest[decision.event_id].revision:
            latest[decision.event_id] = decision
    if differing := [name for name, values in contents.items() if len(values) > 1]:
        yield f"{len(differing)} decisions lie on the topic with differing contents, such as {differing[0]}"
    if undecided := [event_id for event_id in events if f"{event_id}.0" not in contents]:
        yield f"{len(undecided)} events have no decision on the topic, such as {undecided[0]}"
    if unasked := latest.keys() - events:
        yield f"{len(unasked)} decisions answer events that were never accepted, such as {next(iter(unasked))}"
    if lacking := [event_id for event_id, decision in latest.items() if decision.missing]:
        yield f"{len(lacking)} events still lack a prediction in their last revision, such as {lacking[0]}"


def _dead_letters(records: list[Record], bad: set[Position]) -> Iterator[str]:
    """Each consumer that reads a topic must have written off each of its bad records, and nothing else."""
    written: dict[str, set[Position]] = defaultdict(set)
    for record in records:
        where = tuple(header(record.headers, f"dlq.{part}") or "" for part in ("topic", "partition", "offset"))
        written[header(record.headers, "dlq.agent") or "nobody"].add((where[0], int(where[1]), int(where[2])))
    if good := {where for letters in written.values() for where in letters} - bad:
        yield f"{len(good)} good records are dead letters, such as {next(iter(good))}"
    for reader, topics in _readers().items():
        if forgotten := {where for where in bad if where[0] in topics} - written[reader]:
            yield f"{reader} lost {len(forgotten)} bad records without a dead letter, such as {next(iter(forgotten))}"


def _readers() -> dict[str, tuple[str, ...]]:
    """Every consumer group of rides and uploads, by the name it signs dead letters with, and the topics it reads."""
    kinds = {name: {event.kind for event in find(name).consumes} for name in names()}
    topic_of = {"ride": "rides", "upload": "uploads"}
    agents = {
        name: tuple(topic_of[kind] for kind in found) for name, found in kinds.items() if found <= topic_of.keys()
    }
    return {**agents, "decision": ("rides", "uploads", "predictions")}


async def read(settings: Settings, topic: str) -> AsyncIterator[Record]:
    """A topic from its beginning to the end it has now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while [where for where in partitions if await consumer.position(where) < ends[where]]:
            for where, records in (await consumer.getmany(timeout_ms=500)).items():
                for r in records:
                    yield Record(where.topic, where.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
    finally:
        await consumer.stop()
