"""A range of one partition, as it lies on the broker."""

import time
from typing import Any

from aiokafka.structs import TopicPartition

from app import topic_admin
from app.bus import KafkaProducer, Outgoing
from app.codec import Record
from app.modes.consuming.read import SILENCE, ends, reader
from app.settings import Settings
from app.topics import RIDES, Topic


async def test_what_lies_in_a_range_comes_whole_and_nothing_behind_it(settings: Settings, namespace: str) -> None:
    topic, brokers = f"read.{namespace}", str(settings.kafka)
    await topic_admin.ensure(settings, [Topic(topic, None, RIDES.key, RIDES.retention)])
    producer = KafkaProducer(brokers)
    headers = (("ce_id", b"x"),)
    await producer.send([Outgoing(topic, b"k", str(n).encode(), headers, 0) for n in range(1000)])
    await producer.close()
    async with reader(brokers, topic, 0) as source:
        assert await source.bounds() == (0, 1000)
        found = [record async for records in source.records(37, 990) for record in records]
        again = [record async for records in source.records(0, 3) for record in records]
        nothing = [record async for records in source.records(5, 5) for record in records]
    assert [record.offset for record in found] == list(range(37, 990))
    assert [record.value for record in again] == [b"0", b"1", b"2"]
    assert nothing == []
    first = found[0]
    assert type(first) is Record
    assert (first.topic, first.partition, first.key, tuple(first.headers)) == (topic, 0, b"k", headers)


async def test_a_range_ends_behind_the_marks_of_transactions_and_holds_nothing_that_was_aborted(
    stage: Any, foreign: Any
) -> None:
    await foreign.commit(b"a", b"b")
    await foreign.abort(b"never", b"ever")
    await stage.put([Outgoing(stage.topic.name, b"k", b"c", partition=0)])
    await foreign.abort(b"nor this")
    await foreign.ended(9)
    async with reader(str(stage.settings.kafka), stage.topic.name, 0) as source:
        started = time.monotonic()
        found = [record async for records in source.records(0, 9) for record in records]
        part = [record async for records in source.records(4, 8) for record in records]
        assert time.monotonic() - started < SILENCE.total_seconds() / 2
    assert [(record.offset, record.value) for record in found] == [(0, b"a"), (1, b"b"), (6, b"c")]
    assert [record.offset for record in part] == [6]


async def test_a_transaction_that_is_open_is_beyond_the_end(stage: Any, foreign: Any) -> None:
    """So nobody waits for its end; and nothing before the end that was told comes later."""
    brokers, where = str(stage.settings.kafka), TopicPartition(stage.topic.name, 0)
    await stage.put([Outgoing(where.topic, b"k", b"a", partition=0)])
    await foreign.write(b"b")
    await stage.put([Outgoing(where.topic, b"k", b"c", partition=0)])
    async with reader(brokers, *where) as source:
        assert await source.bounds() == (0, 1)
        assert [r.value async for records in source.records(0, 1) for r in records] == [b"a"]
    assert await ends(brokers, [where]) == {where: 1}
    await foreign.producer.commit_transaction()
    await foreign.ended(4)
    async with reader(brokers, *where) as source:
        assert [r.value async for records in source.records(0, 4) for r in records] == [b"a", b"b", b"c"]
