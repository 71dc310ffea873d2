"""One fetch for all: consumers of one process that ask the broker for the same records share its answer.

And a fetch is short while records wait that had no room yet: only the next fetch can ask for more of their partition.

Between the consumers of `app.modes.consuming.transport` and their connections. Agents that share a process mostly read one topic
at one position; each asking for itself was a round trip more per agent and ride (docs/decisions/0005). What a fetch
answers depends on partitions and offsets alone, never on the group: assignment, positions and commits stay each group's
own, and a consumer that lags, or was assigned other partitions, asks a question of its own.

The one place that reaches into aiokafka's client (0.14).
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest

Send = Callable[..., Awaitable[Any]]
_Question = tuple[object, ...]

_KEPT = 8
"""Answers kept for members that ask a moment later: at 100 rides a second the slowest is one or two behind."""

_KEPT_S = 0.5
"""An older answer tells of an older end of the log, which the decision worker reads its clock by, and has no askers left."""

_KEPT_BYTES = 64 << 10
"""Larger answers are not kept: whoever reads a backlog gains nothing from them, and they would hold memory."""


CROWDED_WAIT_MS = 50
"""How long a fetch may wait for records while a partition is left out of it, because what was fetched of that one has found
no room yet: only the next fetch can ask for it again."""


class SharedFetches:
    """What the consumers of one process have asked, and what they were answered lately; they must be of one cluster."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[_Question, asyncio.Task[Any]] = {}
        self._answered: OrderedDict[_Question, tuple[float, Any]] = OrderedDict()

    def join(self, consumer: AIOKafkaConsumer) -> None:
        """From now on this consumer, which is not started yet, shares its fetches."""
        client = consumer._client  # noqa: SLF001 - aiokafka has no public way
        client.send = partial(self._send, consumer, client.send)

    async def _send(self, consumer: AIOKafkaConsumer, send: Send, node_id: int, request: Any, **options: Any) -> Any:
        """Replaces the client's `send`: whatever is no fetch goes straight through."""
        if not isinstance(request, FetchRequest):
            return await send(node_id, request, **options)
        if consumer._fetcher._records:  # noqa: SLF001 - fetched, and not taken
            request._max_wait_ms = min(request._max_wait_ms, CROWDED_WAIT_MS)  # noqa: SLF001
        question = _question(node_id, request)
        at, answer = self._answered.get(question, (-math.inf, None))
        if self._clock() - at < _KEPT_S:
            return answer
        if (asked := self._asked.get(question)) is not None:
            try:
                return await asyncio.shield(asked)
            except KafkaError:
                return await send(node_id, request, **options)  # it went with the one who asked: ask for ourselves
        return await asyncio.shield(self._ask(question, send(node_id, request, **options)))

    def _ask(self, question: _Question, sending: Awaitable[Any]) -> "asyncio.Task[Any]":
        """A task of its own, so that it goes on for the others when the one who asked loses interest."""
        task = self._asked[question] = asyncio.ensure_future(sending)
        task.add_done_callback(partial(self._settle, question))
        return task

    def _settle(self, question: _Question, task: "asyncio.Task[Any]") -> None:
        del self._asked[question]
        if not task.cancelled() and task.exception() is None and 0 < _size(task.result()) <= _KEPT_BYTES:
            self._answered[question] = self._clock(), task.result()
            if len(self._answered) > _KEPT:
                self._answered.popitem(last=False)


def _question(node_id: int, request: FetchRequest) -> _Question:
    """Equal for requests that are answered alike; the order of the partitions is random, and of no account."""
    wanted = frozenset((topic, *partition) for topic, partitions in request.topics for partition in partitions)
    return node_id, wanted


def _size(answer: Any) -> int:
    """Of the records in it, bytes. An answer without any must not be kept: whoever got it would ask again at once."""
    return sum(len(partition[-1] or b"") for _, partitions in answer.topics for partition in partitions)
