"""Creating and checking topics on the real broker."""

from datetime import timedelta
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import ServiceUnavailable, TopicMismatch
from app.services.process import free_port
from app.settings import Settings
from app.topic_admin import _create, describe, ensure
from app.topics import MAX_SNAPSHOT_BYTES, RIDES, TOPICS, state_topic


class Refusing:
    """A broker that answers every wish for a topic with this error."""

    def __init__(self, code: int) -> None:
        self._code = code

    async def create_topics(self, wanted: list[Any], **_: Any) -> Any:
        return SimpleNamespace(topic_errors=[(topic.name, self._code, None) for topic in wanted])


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


@pytest.mark.parametrize("code", [0, 36, 7, 41], ids=["created", "there already", "timed out", "not the controller"])
async def test_a_topic_that_is_there_or_will_be_is_no_refusal(code: int) -> None:
    await _create(Refusing(code), [RIDES], Settings.model_construct())  # type: ignore[arg-type]  # as far as it is asked


async def test_a_refusal_names_the_topic_and_the_reason() -> None:
    with pytest.raises(TopicMismatch, match=r"rides.*InvalidReplicationFactorError"):
        await _create(Refusing(38), [RIDES], Settings.model_construct())  # type: ignore[arg-type]
