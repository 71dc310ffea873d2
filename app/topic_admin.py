"""Makes the brokers' topics what the table in `app.topics` says they are, at start, within a deadline.

Called by whoever starts a system, before any worker; `millrace topics` shows what it finds.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError, TopicAlreadyExistsError, for_code

from app.brokers import REQUEST_MS, RETRY_S, connected
from app.errors import TooFewBrokers, TopicMismatch
from app.settings import Settings
from app.topics import TOPICS, Cluster, Found, Topic, missing

log = logging.getLogger(__name__)

_POLL_S = 0.05


async def ensure(
    settings: Settings, states: Sequence[Topic] = (), within: timedelta = timedelta(seconds=30)
) -> Cluster:
    """Create what is missing of the table and of `states`, check what exists. Returns what there is afterwards.

    `states` are the state topics of the agents at hand, see `state_topic`; `within` is how long the brokers may take, all
    in all: they may just be starting, one after another.

    Raises `TopicMismatch`, and `ServiceUnavailable` when the brokers do not answer in time, or too few of them are up.
    """
    deadline = asyncio.get_running_loop().time() + within.total_seconds()
    async with connected(settings.kafka or "", within, patience=within) as admin:
        return await _ensure(admin, [*TOPICS, *states], settings, deadline)


async def _ensure(admin: AIOKafkaAdminClient, wanted: Sequence[Topic], settings: Settings, deadline: float) -> Cluster:
    """`deadline` by the loop's clock."""
    waiting: str | None = None
    while True:
        try:
            cluster = await _describe(admin, wanted)
            absent = missing(wanted, cluster, settings)
            if not absent:
                return cluster
            await _create(admin, absent, settings)
            await asyncio.sleep(_POLL_S)  # the controller has them; the broker we ask may learn of them a moment later
        except TooFewBrokers as error:
            if asyncio.get_running_loop().time() + RETRY_S > deadline:
                raise
            if waiting != error.problem:
                log.warning("waiting for more brokers: %s", error.problem)
                waiting = error.problem
            await asyncio.sleep(RETRY_S)


async def describe(
    settings: Settings, wanted: Sequence[Topic] = TOPICS, within: timedelta = timedelta(seconds=5)
) -> Cluster:
    """What the brokers have: all topics, with the configuration of the wanted. Raises `ServiceUnavailable` at once."""
    async with connected(settings.kafka or "", within) as admin:
        return await _describe(admin, wanted)


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
    response = await admin.create_topics(new, timeout_ms=REQUEST_MS)
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if error is InvalidReplicationFactorError:  # the controller counts fewer brokers than the one we ask
            raise TooFewBrokers(settings.replication, None)
        # There already: another process starts at the same time. Retriable: the controller has just changed; asked again.
        if code and not error.retriable and error is not TopicAlreadyExistsError:
            problem = (message and message[0]) or error.__name__
            raise TopicMismatch(name, f"the broker refuses to create it: {problem}", "correct the settings")
