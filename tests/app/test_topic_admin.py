"""Creating and checking topics on the real broker."""

from datetime import timedelta
from time import monotonic

import pytest

from app.errors import ServiceUnavailable, TopicMismatch
from app.services.process import free_port
from app.settings import Settings
from app.topic_admin import describe, ensure
from app.topics import MAX_SNAPSHOT_BYTES, TOPICS, state_topic


async def test_ensure_creates_the_table_and_the_states_once(settings: Settings, namespace: str) -> None:
    state = state_topic(namespace)
    assert state.name not in (await describe(settings)).topics
    first = await ensure(settings, [state])
    again = await ensure(settings, [state])
    assert again == first
    assert {topic.name for topic in TOPICS} < first.topics.keys()
    created = first.topics[state.name]
    assert created.partitions == settings.partitions
    assert created.config["cleanup.policy"] == "compact"
    assert int(created.config["max.message.bytes"]) == MAX_SNAPSHOT_BYTES
    assert first.topics["rides"].config["retention.ms"] == str(7 * 24 * 3600 * 1000)


async def test_another_partition_count_is_an_error_not_a_hang(settings: Settings) -> None:
    await ensure(settings)
    started = monotonic()
    with pytest.raises(TopicMismatch, match=f"MILLRACE_PARTITIONS={settings.partitions}$"):
        await ensure(settings.model_copy(update={"partitions": settings.partitions + 1}))
    assert monotonic() - started < 20


async def test_no_broker_is_an_error_within_the_deadline(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}"})
    started = monotonic()
    with pytest.raises(ServiceUnavailable, match="MILLRACE_KAFKA"):
        await ensure(nowhere, within=timedelta(seconds=1))
    assert monotonic() - started < 10
