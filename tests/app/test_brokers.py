"""Who is in a consumer group, from what the broker says of it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.protocol.admin import DescribeGroupsResponse_v3

from app import topic_admin
from app.brokers import members, workers
from app.errors import ServiceUnavailable
from app.services.process import free_port
from app.settings import Settings
from app.topics import UPLOADS

GROUP = "millrace.eta"
MEMBER = ("id", "client", "host", b"", b"")


class Telling:
    """A broker that says this of every group, or fails so."""

    def __init__(self, error: int = 0, count: int = 0, fails: KafkaError | None = None) -> None:
        self._error, self._count, self._fails = error, count, fails

    async def describe_consumer_groups(self, names: list[str]) -> list[Any]:
        if self._fails is not None:
            raise self._fails
        told = [(self._error, name, "Stable", "", "", [MEMBER] * self._count, 0) for name in names]
        return [DescribeGroupsResponse_v3(0, told)]


@pytest.fixture
async def group(settings: Settings, namespace: str) -> AsyncIterator[str]:
    """A group with one member."""
    await topic_admin.ensure(settings)
    name = f"millrace.{namespace}"
    member = AIOKafkaConsumer(UPLOADS.name, bootstrap_servers=settings.kafka, group_id=name)
    await member.start()
    yield name
    await member.stop()


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_group_has_the_members_it_is_said_to_have(count: int) -> None:
    assert await members(Telling(count=count), GROUP) == count  # type: ignore[arg-type]  # as far as it is asked


@pytest.mark.parametrize("error", [14, 15, 16], ids=["loading", "no coordinator", "moved"])
async def test_a_broker_that_cannot_say_says_nothing_of_the_members(error: int) -> None:
    assert await members(Telling(error), GROUP) is None  # type: ignore[arg-type]


async def test_a_group_without_a_coordinator_yet_is_not_said_to_be_empty() -> None:
    assert await members(Telling(fails=GroupCoordinatorNotAvailableError()), GROUP) is None  # type: ignore[arg-type]


async def test_what_will_not_pass_is_no_patience() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await members(Telling(fails=GroupAuthorizationFailedError()), GROUP)  # type: ignore[arg-type]


async def test_a_real_broker_is_asked(settings: Settings, group: str) -> None:
    assert await workers(str(settings.kafka), group) == 1
    assert await workers(str(settings.kafka), f"{group}.nobody") == 0


async def test_a_broker_that_is_away_is_no_empty_group() -> None:
    with pytest.raises(ServiceUnavailable, match="MILLRACE_KAFKA"):
        await workers(f"127.0.0.1:{free_port()}", GROUP, timedelta(seconds=0.2))
