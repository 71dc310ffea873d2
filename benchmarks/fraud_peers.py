"""What the loop is compared with, each in a process of its own: `python -m benchmarks.fraud_peers NAME --output TOPIC`.

All read the three topics of transactions from their beginning, do `fraud_task`'s work and write the predictions to the
output topic, until they are ended: in columns, as the real worker does, where they have a batch in hand; one record per
transaction where their idiom is one by one. `fraud_backlog` starts them, and counts what arrives on that topic.
"""

import argparse
import asyncio
import logging
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

from app.events import TransactionMade
from app.settings import read_settings
from app.topics import TRANSACTIONS
from benchmarks.fraud_task import Read, Task

TOPICS = [topic.name for topic in TRANSACTIONS.values()]
AT_ONCE = 10_000


def group() -> str:
    """A group nobody was in before."""
    return f"bench.{uuid.uuid4().hex[:8]}"


def confluent(kafka: str, task: Task, output: str) -> None:
    """No framework: librdkafka's consumer and producer, whole batches through the model, columns out."""
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group(),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "acks": "all",
            "linger.ms": 5,
            "batch.size": 1 << 20,
            "message.max.bytes": 2 << 20,
        }
    )
    consumer.subscribe(TOPICS)
    while True:
        records: dict[tuple[str, int], list[Any]] = defaultdict(list)
        for message in consumer.consume(AT_ONCE, 0.1):
            if message.error() is None:
                records[message.topic(), message.partition()].append(message)
        for (topic, partition), found in records.items():
            events = task.decode([message.value() for message in found])
            offsets, stamps = [m.offset() for m in found], [m.timestamp()[1] for m in found]
            for answers in task.columns(Read(events, topic, partition, offsets, stamps)):
                producer.produce(output, answers, partition=partition)
            producer.poll(0)
        producer.flush()
        if records:
            consumer.commit(asynchronous=True)


async def aiokafka(kafka: str, task: Task, output: str) -> None:
    """No framework: aiokafka, whole batches through the model, columns out."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    consumer = AIOKafkaConsumer(
        *TOPICS,
        bootstrap_servers=kafka,
        group_id=group(),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=2 << 20,
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", max_request_size=2 << 20)
    await consumer.start()
    await producer.start()
    while True:
        sent = []
        for where, found in (await consumer.getmany(timeout_ms=100)).items():
            events = task.decode([record.value for record in found])
            offsets, stamps = [r.offset for r in found], [r.timestamp for r in found]
            said = task.columns(Read(events, where.topic, where.partition, offsets, stamps))
            sent += [await producer.send(output, each, partition=where.partition) for each in said]
        if sent:
            await asyncio.gather(*sent)
            await consumer.commit()


async def faust(kafka: str, task: Task, output: str, in_columns: bool = False) -> None:
    """As Faust's guide has it: a `Record`, `take(within=1)`, one `send` per answer, delivery not awaited.

    With `in_columns` one `send` per batch of a partition: what a user of Faust who does as we do would have.
    """
    import faust

    class Transaction(faust.Record, serializer="json"):
        type: str
        event_id: str
        user_id: str
        at: str
        transaction_id: str
        card_id: str
        terminal_id: str
        source: str
        amount_usd: float

    app = faust.App(
        group(),
        broker=f"aiokafka://{kafka}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        datadir=tempfile.mkdtemp(),
    )
    answers = app.topic(output, value_serializer="raw")

    async def score(stream: Any) -> None:
        async for batch in stream.take_events(AT_ONCE, within=1):
            for (topic, partition), found in _by_partition(batch, lambda e: (e.message.topic, e.message.partition)):
                events = [_event(each.value) for each in found]
                offsets = [each.message.offset for each in found]
                stamps = [int(each.message.timestamp * 1000) for each in found]
                if in_columns:
                    for columns in task.columns(Read(events, topic, partition, offsets, stamps)):
                        await answers.send(value=columns, partition=partition)
                    continue
                for event, answer in zip(
                    events, task.singly(Read(events, topic, partition, offsets, stamps)), strict=True
                ):
                    await answers.send(key=event.card_id, value=answer)

    app.agent(app.topic(*TOPICS, value_type=Transaction))(score)
    await app.start()
    await asyncio.Event().wait()


def quix(kafka: str, task: Task, output: str) -> None:
    """Quix Streams' own idiom: a dataframe of each topic, a function applied to every record, the result to a topic."""
    from quixstreams import message_context

    app = _quix_application(kafka)
    answers = app.topic(output, value_serializer="bytes")
    topics = [app.topic(name, value_deserializer="json") for name in TOPICS]

    def score(value: dict[str, Any], key: bytes, timestamp_ms: int, headers: object) -> bytes:  # noqa: ARG001 - theirs
        where = message_context()
        return task.singly(Read([_event(value)], where.topic, where.partition, [where.offset], [timestamp_ms]))[0]

    for topic in topics:
        app.dataframe(topic).apply(score, metadata=True).to_topic(answers)
    app.run()


def quix_sink(kafka: str, task: Task, output: str) -> None:
    """Quix Streams with batches: its `BatchingSink` is handed what came since the last checkpoint, by partition; columns out."""
    from confluent_kafka import Producer
    from quixstreams.sinks import BatchingSink, SinkBatch

    producer = Producer({"bootstrap.servers": kafka, "acks": "all", "linger.ms": 5, "message.max.bytes": 2 << 20})

    class Scores(BatchingSink):  # type: ignore[misc]  # it has no types here
        def write(self, batch: SinkBatch) -> None:
            for items in batch.iter_chunks(AT_ONCE):
                found = list(items)
                events = [_event(item.value) for item in found]
                offsets, stamps = [item.offset for item in found], [item.timestamp for item in found]
                for answers in task.columns(Read(events, batch.topic, batch.partition, offsets, stamps)):
                    producer.produce(output, answers, partition=batch.partition)
                producer.poll(0)
            producer.flush()

    app = _quix_application(kafka, commit_every=AT_ONCE)
    for name in TOPICS:
        app.dataframe(app.topic(name, value_deserializer="json")).sink(Scores())
    app.run()


def _quix_application(kafka: str, **options: Any) -> Any:
    """Well configured: no more logging than errors, large fetches and batches, a checkpoint a second."""
    from quixstreams import Application

    return Application(
        broker_address=kafka,
        consumer_group=group(),
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=tempfile.mkdtemp(),
        loglevel="ERROR",
        auto_create_topics=False,
        consumer_extra_config={"fetch.wait.max.ms": 100, "queued.max.messages.kbytes": 65_536},
        producer_extra_config={"linger.ms": 5, "batch.size": 512 << 10, "acks": "all"},
        **options,
    )


def _event(value: Any) -> TransactionMade:
    """What a framework decoded, as the features want it."""
    import msgspec

    fields = value if isinstance(value, dict) else value.asdict()
    return msgspec.convert(fields, TransactionMade)


def _by_partition(found: list[Any], where: Callable[[Any], tuple[str, int]]) -> Any:
    by: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for each in found:
        by[where(each)].append(each)
    return by.items()


PEERS: dict[str, Callable[[str, Task, str], Any]] = {
    "confluent": confluent,
    "aiokafka": aiokafka,
    "faust": faust,
    "faust-columns": partial(faust, in_columns=True),
    "quix": quix,
    "quix-sink": quix_sink,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=list(PEERS))
    parser.add_argument("--output", required=True)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    settings = read_settings()
    peer, task = PEERS[chosen.name], Task(settings)
    if asyncio.iscoroutinefunction(peer):
        uvloop.run(peer(settings.kafka or "", task, chosen.output))
    else:
        peer(settings.kafka or "", task, chosen.output)


if __name__ == "__main__":
    main()
