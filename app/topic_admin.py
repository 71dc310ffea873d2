"""Makes the brokers' topics what the table in `app.topics` says they are, at start, within a deadline.

Called by whoever starts a system, before any worker; `millrace topics` shows what it finds.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from app.errors import ServiceUnavailable, TopicMismatch
from app.settings import Settings
from app.topics import TOPICS, Cluster, Found, Topic, missing

_REQUEST_MS = 10_000
_POLL_S = 0.05
_RETRY_S = 0.5


async def ensure(
    settings: Settings, states: Sequence[Topic] = (), within: timedelta = timedelta(seconds=30)
) -> Cluster:
    """Create what is missing of the table and of `states`, check what exists. Returns what there is afterwards.

    `states` are the state topics of the agents at hand, see `state_topic`; `within` is how long the brokers may take, all
    in all: they may just be starting.

    Raises `TopicMismatch`, and `ServiceUnavailable` when the brokers do not answer in time.
    """
    wanted = [*TOPICS, *states]
    async with _admin(settings, within, patience=within) as admin:
        while True:
            cluster = await _describe(admin, wanted)
            absent = missing(wanted, cluster, settings)
            if not absent:
                return cluster
            await _create(admin, absent, settings)
            await asyncio.sleep(_POLL_S)  # the controller has them; the broker we ask may learn of them a moment later


async def describe(
    settings: Settings, wanted: Sequence[Topic] = TOPICS, within: timedelta = timedelta(seconds=5)
) -> Cluster:
    """What the brokers have: all topics, with the configuration of the wanted. Raises `ServiceUnavailable` at once."""
    async with _admin(settings, within) as admin:
        return await _describe(admin, wanted)


@asynccontextmanager
async def _admin(
    settings: Settings, within: timedelta, patience: timedelta = timedelta(0)
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client; everything done with it, connecting included, shares one deadline."""
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka, client_id="millrace-topics", request_timeout_ms=_REQUEST_MS
    )
    try:
        async with asyncio.timeout(within.total_seconds()):
            await _connect(client, patience)
            yield client
    except (TimeoutError, KafkaError) as error:
        raise ServiceUnavailable(
            "kafka", f"{settings.kafka} does not answer ({error or 'in time'}): check MILLRACE_KAFKA"
        ) from error
    finally:
        await client.close()


async def _connect(client: AIOKafkaAdminClient, patience: timedelta) -> None:
    """Retries for as long as it may: in a set of containers the broker may be the last to be up."""
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    while True:
        try:
            await client.start()
            return
        except KafkaError:
            if asyncio.get_running_loop().time() + _RETRY_S > deadline:
                raise
            await asyncio.sleep(_RETRY_S)


async def _describe(admin: AIOKafkaAdminClient, wanted: Sequence[Topic]) -> Cluster:
    brokers = len((await admin.describe_cluster())["brokers"])
    # All topics, for asking by name would create them on brokers that create topics when asked.
    listed = [topic for topic in await admin.describe_topics() if topic["partitions"] and not topic["is_internal"]]
    names = {topic["topic"] for topic in listed}
    configs = await _configs(admin, [topic.name for topic in wanted if topic.name in names])
    topics = {topic["topic"]: _found(topic, configs.get(topic["topic"], {})) for topic in listed}
    return Cluster(brokers, topics)


def _found(topic: Mapping[str, Any], config: Mapping[str, str]) -> Found:
    partitions = topic["partitions"]
    return Found(len(partitions), min(len(partition["replicas"]) for partition in partitions), config)


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for response in await admin.describe_configs(resources)
        for _code, _message, _kind, name, entries in response.resources
    }


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Topic], settings: Settings) -> None:
    new = [
        NewTopic(
            topic.name, topic.partitions or settings.partitions, settings.replication, topic_configs=topic.configuration
        )
        for topic in topics
    ]
    response = await admin.create_topics(new, timeout_ms=_REQUEST_MS)
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        # There already: another process starts at the same time. Retriable: the controller has just changed; asked again.
        if code and not error.retriable and error is not TopicAlreadyExistsError:
            problem = (message and message[0]) or error.__name__
            raise TopicMismatch(name, f"the broker refuses to create it: {problem}", "correct the settings")
