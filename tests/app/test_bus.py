"""The producer's contract, on the bus in memory and on the real broker alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from hypothesis import given
from hypothesis import strategies as st

from app import topic_admin
from app.bus import CLOSE_S, KafkaProducer, Outgoing, Producer, deliver, partition_of
from app.codec import Record
from app.errors import DeliveryFailed, InvalidMessage
from app.modes.consuming.read import reader
from app.settings import Settings
from app.testing import MemoryBus
from app.topics import RIDES, Topic

_ORDINARY = {"max.message.bytes": str(1 << 20)}


@dataclass
class Bus:
    producer: Producer
    topic: str
    records: Callable[[], Awaitable[list[Record]]]


@pytest_asyncio.fixture(params=["memory", "kafka"])
async def bus(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Bus]:
    topic = f"bus.{namespace}"
    if request.param == "memory":
        memory = MemoryBus(4)

        async def kept() -> list[Record]:
            return memory.records(topic)

        yield Bus(memory, topic, kept)
        return
    settings: Settings = request.getfixturevalue("settings")
    await topic_admin.ensure(settings, [Topic(topic, None, RIDES.key, RIDES.retention, config=_ORDINARY)])

    async def read() -> list[Record]:
        found = []
        for partition in range(settings.partitions):
            async with reader(str(settings.kafka), topic, partition) as source:
                async for records in source.records(*await source.bounds()):
                    found += [record._replace(headers=tuple(record.headers)) for record in records]
        return found

    producer = KafkaProducer(str(settings.kafka))
    yield Bus(producer, topic, read)
    await producer.close()


async def test_what_is_posted_goes_with_what_is_sent_next(bus: Bus) -> None:
    await bus.producer.post([Outgoing(bus.topic, b"a", b"posted"), Outgoing(bus.topic, b"b", b"posted, too")])
    await bus.producer.send([Outgoing(bus.topic, b"a", b"sent")])
    records = await bus.records()
    assert [record.value for record in records if record.key == b"a"] == [b"posted", b"sent"]
    assert [record.value for record in records if record.key == b"b"] == [b"posted, too"]


async def test_of_what_is_posted_in_vain_nobody_hears(bus: Bus) -> None:
    await bus.producer.post([Outgoing(bus.topic, b"a", b"x" * (2 << 20))])
    await bus.producer.send([Outgoing(bus.topic, b"a", b"sent")])
    assert [record.value for record in await bus.records()] == [b"sent"]


@pytest.mark.parametrize("count", [1, 5, 31, 32, 5000])
async def test_what_is_sent_lies_where_it_says_in_order_per_key(bus: Bus, count: int) -> None:
    sent = [Outgoing(bus.topic, f"user-{n % 7}".encode(), b"%d" % n, (("h", b"%d" % n),)) for n in range(count)]
    delivered = await bus.producer.send(sent)

    found = {(record.partition, record.offset): record for record in await bus.records()}
    assert len(found) == count
    for record, where in zip(sent, delivered, strict=True):
        lies = found[where.partition, where.offset]
        assert (lies.key, lies.value, lies.headers) == (record.key, record.value, record.headers)
        assert where.partition == partition_of(record.key, 4)
    for key in {record.key for record in sent}:
        values = [int(record.value or b"") for _, record in sorted(found.items()) if record.key == key]
        assert values == sorted(values)


@pytest.mark.parametrize("count", [1, 100])
async def test_a_chosen_partition_a_missing_key_and_a_missing_value_are_kept(bus: Bus, count: int) -> None:
    delivered = await bus.producer.send([Outgoing(bus.topic, None, None, (), 3)] * count)
    assert {where.partition for where in delivered} == {3}
    assert [(record.key, record.value) for record in await bus.records()] == [(None, None)] * count


async def test_later_calls_come_later(bus: Bus) -> None:
    for size in (1, 40, 2, 40):
        await bus.producer.send([Outgoing(bus.topic, b"k", b"%d" % size)] * size)
    assert [record.value for record in await bus.records()] == [b"1"] + [b"40"] * 40 + [b"2"] * 2 + [b"40"] * 40


async def test_nothing_sent_is_nothing_delivered(bus: Bus) -> None:
    assert await bus.producer.send([]) == []


@pytest.mark.parametrize("count", [1, 50])
async def test_a_record_its_topic_cannot_take_is_refused_for_good(bus: Bus, count: int) -> None:
    records = [Outgoing(bus.topic, b"k", b"small")] * (count - 1)
    with pytest.raises(InvalidMessage):
        await bus.producer.send([*records, Outgoing(bus.topic, b"k", b"x" * (2 << 20))])


async def test_a_producer_closed_twice_is_closed(bus: Bus) -> None:
    await bus.producer.send([Outgoing(bus.topic, b"k", b"v")])
    await bus.producer.close()
    await bus.producer.close()


@pytest_asyncio.fixture
async def leaderless(settings: Settings, namespace: str) -> AsyncIterator["Leaderless"]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    producer = KafkaProducer(str(settings.kafka))
    yield Leaderless(admin, producer, f"bus.{namespace}")
    await producer.close()
    await admin.close()


@dataclass
class Leaderless:
    """A topic whose partition has no leader for a while: it is deleted behind the producer's back, and made again."""

    admin: AIOKafkaAdminClient
    producer: KafkaProducer
    topic: str

    async def make(self) -> None:
        await self.admin.create_topics([NewTopic(self.topic, 1, 1)])

    async def lose(self) -> None:
        await self.make()
        await deliver(self.producer, [Outgoing(self.topic, b"k", b"known to the producer")])
        await self.admin.delete_topics([self.topic])
        async with asyncio.timeout(20):
            while self.topic in await self.admin.list_topics():  # noqa: ASYNC110 - the broker signals nobody
                await asyncio.sleep(0.02)


async def test_closing_does_not_wait_for_what_was_only_posted(leaderless: Leaderless) -> None:
    await leaderless.lose()
    await leaderless.producer.post([Outgoing(leaderless.topic, b"k", b"posted")])
    async with asyncio.timeout(10 * CLOSE_S):  # a request may take 40 s
        await leaderless.producer.close()


async def test_closing_waits_for_what_was_sent(leaderless: Leaderless) -> None:
    await leaderless.lose()
    sending = asyncio.create_task(leaderless.producer.send([Outgoing(leaderless.topic, b"k", b"sent")]))
    await asyncio.sleep(0)  # it has begun
    closing = asyncio.create_task(leaderless.producer.close())
    waiting, _ = await asyncio.wait({sending, closing}, timeout=2 * CLOSE_S)
    assert not waiting
    await leaderless.make()
    assert [where.topic for where in await sending] == [leaderless.topic]
    await closing


async def test_no_broker_is_a_failed_delivery() -> None:
    producer = KafkaProducer("127.0.0.1:1")
    await producer.post([Outgoing("t", None, b"of no use later")])
    with pytest.raises(DeliveryFailed):
        await producer.send([Outgoing("t", None, b"v")])
    await producer.close()


async def test_delivery_is_tried_again_and_given_up_in_the_end() -> None:
    class Shaky(MemoryBus):
        """Fails so many times."""

        def __init__(self, failures: int) -> None:
            super().__init__()
            self.failures = failures

        async def send(self, records):  # type: ignore[no-untyped-def]
            self.failures -= 1
            self.down = self.failures >= 0
            return await super().send(records)

    once = Shaky(1)
    await deliver(once, [Outgoing("t", b"k", b"v")], tries=2)
    assert len(once.records("t")) == 1
    with pytest.raises(DeliveryFailed):
        await deliver(Shaky(2), [Outgoing("t", b"k", b"v")], tries=2)


@given(key=st.binary(), partitions=st.integers(1, 64))
def test_a_key_has_one_partition_in_range(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
    assert partition_of(key, partitions) == partition_of(bytes(key), partitions)


def test_the_partition_is_the_one_java_clients_choose() -> None:
    # org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own UtilsTest
    expected = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, hashed in expected.items():
        assert partition_of(key, 1 << 30) == (hashed & 0x7FFFFFFF) % (1 << 30)
