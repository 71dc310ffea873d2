"""A range of one partition, as it lies on the broker."""

from app import topic_admin
from app.bus import KafkaProducer, Outgoing
from app.codec import Record
from app.modes.consuming.read import reader
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
