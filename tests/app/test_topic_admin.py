"""Creating and checking topics on the real broker."""

import asyncio
from datetime import timedelta
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import ServiceUnavailable, TooFewBrokers, TopicMismatch
from app.services.process import free_port
from app.settings import Settings
from app.topic_admin import _create, _ensure, describe, ensure
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
    with pytest.raises(TopicMismatch, match=r"rides.*PolicyViolationError"):
        await _create(Refusing(44), [RIDES], Settings.model_construct())  # type: ignore[arg-type]


class Starting:
    """A cluster whose brokers come up one by one, one more each time somebody asks; the last is unknown to the controller at first."""

    def __init__(self, most: int) -> None:
        self._most, self._asked, self._created = most, 0, {}

    async def describe_cluster(self) -> dict[str, Any]:
        self._asked += 1
        return {"brokers": [{"node_id": number} for number in range(min(self._asked, self._most))]}

    async def describe_topics(self) -> list[dict[str, Any]]:
        replicas = {"replicas": [0, 1]}
        return [
            {"topic": name, "partitions": [replicas] * count, "is_internal": False}
            for name, count in self._created.items()
        ]

    async def describe_configs(self, _: object) -> list[Any]:
        return []

    async def create_topics(self, wanted: list[Any], **_: Any) -> Any:
        code = 38 if self._asked <= self._most else 0
        if not code:
            self._created |= {topic.name: topic.num_partitions for topic in wanted}
        return SimpleNamespace(topic_errors=[(topic.name, code, None) for topic in wanted])


def _within(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_cluster_that_is_just_starting_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    two = Settings.model_construct(replication=2)
    cluster = await _ensure(Starting(2), [RIDES], two, _within(30))  # type: ignore[arg-type]  # as far as it is asked
    assert cluster.topics["rides"].partitions == two.partitions
    told = [record.getMessage() for record in caplog.records]
    assert "1 broker is up, and MILLRACE_REPLICATION=2 takes 2" in told[0]
    assert "too few brokers are up" in told[1]


async def test_brokers_that_never_come_are_an_error_that_says_what_to_do() -> None:
    three = Settings.model_construct(replication=3)
    with pytest.raises(TooFewBrokers, match=r"MILLRACE_REPLICATION=3 takes 3: start more, or lower it"):
        await _ensure(Starting(1), [RIDES], three, _within(0.1))  # type: ignore[arg-type]
