"""Kafka's books, read from a real broker."""

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app import topic_admin
from app.bus import KafkaProducer, Outgoing
from app.modes.dlq import GROUP as DLQ_GROUP
from app.settings import Settings
from app.topics import DEAD_LETTERS, UPLOADS
from gateway.books import TOPICS, Books


async def test_the_ends_move_with_what_is_written(settings: Settings) -> None:
    assert settings.kafka is not None
    await topic_admin.ensure(settings)
    books, producer = Books(settings.kafka), KafkaProducer(settings.kafka)
    try:
        before = await books.ends()
        await producer.send([Outgoing(UPLOADS.name, b"u", b"not for anybody", partition=1)])
        after = await books.ends()
    finally:
        await books.close()
        await producer.close()
    assert len(before) == len(TOPICS) * settings.partitions
    assert after[UPLOADS.name, 1] >= before[UPLOADS.name, 1] + 1


async def test_the_books_of_a_tool_are_no_group_that_somebody_should_serve(settings: Settings) -> None:
    assert settings.kafka is not None
    await topic_admin.ensure(settings)
    tool = AIOKafkaConsumer(bootstrap_servers=settings.kafka, group_id=DLQ_GROUP, enable_auto_commit=False)
    books = Books(settings.kafka)
    try:
        await tool.start()
        where = TopicPartition(DEAD_LETTERS.name, 0)
        tool.assign([where])
        await tool.commit({where: 0})
        told = [group.name for group in await books.groups(await books.ends())]
    finally:
        await tool.stop()
        await books.close()
    assert DLQ_GROUP not in told


async def test_every_group_is_told_with_its_members(settings: Settings, namespace: str) -> None:
    assert settings.kafka is not None
    await topic_admin.ensure(settings)
    names = [f"millrace.{namespace}.{which}" for which in ("one", "two")]
    members = [AIOKafkaConsumer(UPLOADS.name, bootstrap_servers=settings.kafka, group_id=name) for name in names]
    books = Books(settings.kafka)
    try:
        for member in members:
            await member.start()
        told = {group.name: group.members for group in await books.groups(await books.ends())}
    finally:
        for member in members:
            await member.stop()
        await books.close()
    assert [told.get(name) for name in names] == [1, 1]
