"""Where answers come in: the lease on a partition in a real Redis, and the partition of a real broker."""

import asyncio
import time
from collections.abc import Callable

import pytest

from app import topic_admin
from app.asking.asker import kafka_asker
from app.asking.inbox import KafkaInbox, Lease
from app.asking.served import Served
from app.bus import KafkaProducer, Outgoing
from app.codec import Record
from app.errors import NotServed
from app.live_log import connect
from app.settings import Settings
from app.testing import Events
from app.topics import REPLIES


async def until(holds: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)


@pytest.fixture
async def leases(services: Settings) -> Callable[[], Lease]:
    """Leases on 3 partitions that nobody holds."""
    redis = connect(services.redis or "")
    await redis.delete(*(f"replies:{number}" for number in range(REPLIES.partitions or 0)))
    await redis.aclose()
    return lambda: Lease(services.redis, 3)


async def test_each_process_has_a_partition_of_its_own_the_lowest_that_is_free(leases: Callable[[], Lease]) -> None:
    held = [leases() for _ in range(3)]
    assert [await lease.claim() for lease in held] == [0, 1, 2]
    assert [await lease.claim(number) for number, lease in enumerate(held)] == [0, 1, 2], "renewed"
    assert await leases().claim() in {0, 1, 2}, "too many of us share"
    await held[1].close(1)
    assert await leases().claim() == 1


async def test_who_lost_the_partition_takes_another(leases: Callable[[], Lease], services: Settings) -> None:
    first, second = leases(), leases()
    assert await first.claim() == 0
    redis = connect(services.redis or "")
    assert 0 < await redis.pttl("replies:0") <= 10_000
    await redis.delete("replies:0")  # as when Redis was away for longer than the lease lasts
    await redis.aclose()
    assert await second.claim() == 0
    assert await first.claim(0) == 1


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:1"])
async def test_without_redis_any_partition_will_do(url: str | None) -> None:
    lease = Lease(url, 3)
    partition = await lease.claim()
    assert partition in range(3)
    assert await lease.claim(partition) == partition
    await lease.close(partition)


async def test_what_is_written_once_the_inbox_stands_is_heard(settings: Settings) -> None:
    await topic_admin.ensure(settings)
    producer, inbox = KafkaProducer(str(settings.kafka)), KafkaInbox(str(settings.kafka), settings.redis)
    heard: list[Record] = []
    running = asyncio.create_task(inbox.run(heard.extend))
    await until(lambda: inbox.partition is not None)
    for body in (b"one", b"two"):
        await producer.send([Outgoing(REPLIES.name, None, body, (), inbox.partition)])
    await until(lambda: len(heard) >= 2)
    assert [record.value for record in heard] == [b"one", b"two"], "and nothing of what lay there before"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await producer.close()


async def test_who_has_no_worker_is_known_without_asking(settings: Settings, namespace: str) -> None:
    await topic_admin.ensure(settings)
    served = Served(str(settings.kafka), [namespace])
    assert served.serves(namespace), "nothing is known yet"
    running = asyncio.create_task(served.run())
    await until(lambda: not served.serves(namespace))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    asker = kafka_asker(settings, [namespace])
    await asker.start()
    await until(lambda: asker.ready and not asker.serves(namespace))
    began = time.monotonic()
    with pytest.raises(NotServed):
        await asker.ask(namespace, [Events().ride()], 20.0)
    assert time.monotonic() - began < 5.0, "it did not wait for its deadline"
    await asker.close()


async def test_a_broker_that_is_away_is_waited_for(settings: Settings) -> None:
    asker = kafka_asker(settings.model_copy(update={"kafka": "127.0.0.1:1"}), ["eta"])
    await asker.start()
    with pytest.raises(NotServed):
        await asker.ask("eta", [Events().ride()], 1.0)
    await asker.close()
    assert not asker.ready
