"""Who is served: whether an agent's group of requests has a member, known before anybody asks. Below `app.asking.asker`."""

import asyncio
import logging
from collections.abc import Collection
from itertools import cycle
from typing import Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.asking.requests import request_group
from app.brokers import members

log = logging.getLogger(__name__)

EVERY_S = 2.0
"""A worker that was killed is counted a member for its session, six seconds; to look more often would tell little more."""

_ANSWER_S = 5.0


class Serving(Protocol):
    """Who is served."""

    def serves(self, agent: str) -> bool:
        """Whether a worker answers for this agent, as far as is known; where nothing is, it may."""
        ...

    async def run(self) -> None:
        """Keep knowing, until cancelled."""
        ...


class Served:
    """Asks Kafka for the members of each agent's group, one after another, again and again."""

    def __init__(self, kafka: str, agents: Collection[str]) -> None:
        self._kafka, self._agents = kafka, agents
        self._members: dict[str, int] = {}
        self._admin: AIOKafkaAdminClient | None = None

    def serves(self, agent: str) -> bool:
        return self._members.get(agent, 1) > 0

    async def run(self) -> None:
        """See `Serving.run`. While Kafka does not answer, what was known last stands."""
        try:
            for agent in cycle(self._agents):
                try:
                    async with asyncio.timeout(_ANSWER_S):
                        await self._look(agent)
                except (KafkaError, OSError, TimeoutError) as error:
                    log.debug("who is served is not to be learnt: %s", error)
                    await self._disconnect()
                # Not all at once: requests that come in just then would wait for some ten milliseconds of work.
                await asyncio.sleep(EVERY_S / len(self._agents))
        finally:
            await self._disconnect()

    async def _look(self, agent: str) -> None:
        found = await members(await self._connected(), request_group(agent))
        if found is not None:
            self._members[agent] = found

    async def _connected(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka, client_id="millrace.served")
            try:
                await admin.start()
            except BaseException:
                await admin.close()
                raise
            self._admin = admin
        return self._admin

    async def _disconnect(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()
