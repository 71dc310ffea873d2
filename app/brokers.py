"""Asking the brokers as an administrator does: a connection within a deadline, and who is in a consumer group."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)

from app.errors import ServiceUnavailable

log = logging.getLogger(__name__)

REQUEST_MS = 10_000
RETRY_S = 0.5

_CANNOT_SAY = (GroupLoadInProgressError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)


@asynccontextmanager
async def connected(
    kafka: str, within: timedelta, patience: timedelta = timedelta(0)
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client; everything done with it, connecting included, has to be done `within`.

    Brokers that do not answer are tried again for as long as `patience`: in a set of containers they may be the last to be up.

    Raises `ServiceUnavailable` when the brokers do not answer in time.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="millrace-admin", request_timeout_ms=REQUEST_MS)
    try:
        async with asyncio.timeout(within.total_seconds()):
            await _connect(client, kafka, patience)
            yield client
    except (TimeoutError, KafkaError) as error:
        raise ServiceUnavailable(
            "kafka", f"{kafka} does not answer ({error or 'in time'}): check MILLRACE_KAFKA"
        ) from error
    finally:
        await client.close()


async def _connect(client: AIOKafkaAdminClient, kafka: str, patience: timedelta) -> None:
    deadline, said = asyncio.get_running_loop().time() + patience.total_seconds(), False
    while True:
        try:
            await client.start()
            return
        except KafkaError:
            if asyncio.get_running_loop().time() + RETRY_S > deadline:
                raise
            if not said:
                log.warning("waiting for Kafka at %s, for %g s at most", kafka, patience.total_seconds())
                said = True
            await asyncio.sleep(RETRY_S)


async def members(admin: AIOKafkaAdminClient, group: str) -> int | None:
    """How many members a consumer group has; `None` while the broker cannot say: it has just started, or the group moves.

    A worker that was killed is a member until its session ends. One group at a time, for aiokafka 0.14 misreads an answer
    about several (DescribeGroupsResponse_v3). Raises `KafkaError` and `OSError`.
    """
    try:
        answers = await admin.describe_consumer_groups([group])
    except _CANNOT_SAY:
        return None
    described = [told for answer in answers for told in answer.groups]
    if any(error for error, *_ in described):
        return None
    return sum(len(of) for _, _, _, _, _, of, *_ in described)


async def workers(kafka: str, group: str, within: timedelta = timedelta(seconds=5)) -> int:
    """`members`, once the broker can say. Raises `ServiceUnavailable` when it does not answer, or cannot say in time."""
    deadline = asyncio.get_running_loop().time() + within.total_seconds()
    async with connected(kafka, 2 * within) as admin:
        while (found := await members(admin, group)) is None:
            if asyncio.get_running_loop().time() + RETRY_S > deadline:
                raise ServiceUnavailable("kafka", f"it cannot say yet who is in {group}: ask again in some seconds")
            await asyncio.sleep(RETRY_S)
    return found
