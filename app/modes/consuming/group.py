"""A consumer group as a function call per batch: `handle` returns, and the batch counts as done.

Under every worker (`app.modes.stream`, `app.modes.ask`, the decision workers); stands on `app.modes.consuming.transport`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiokafka.structs import TopicPartition
from faust.types import TP

from app.modes.consuming.fetching import SharedFetches
from app.modes.consuming.progress import RecordBatch
from app.modes.consuming.transport import (
    FETCH_BYTES,
    App,
    BatchMessage,
    BeforeCommit,
    Committable,
    Rebalanced,
    TableManager,
)
from app.settings import Settings
from app.topics import Topic

log = logging.getLogger(__name__)

Handle = Callable[[RecordBatch], Awaitable[None]]

_GOLDEN = 0.618
"""The golden ratio spreads any number of lanes evenly over a window, so that they close one after another: the work of all of
them would otherwise want the cores at the same moment."""

STOP_WITHIN_S = 6.0
"""How long a worker may take to finish what is in hand and leave its group; supervisors kill after ten seconds."""


async def _nothing(partitions: frozenset[TopicPartition]) -> None:
    """Nobody needs to hear of a rebalance."""


@dataclass(frozen=True)
class Batching:
    """How many records reach `handle` at once.

    Attributes:
        max_records: what has queued up is joined up to this many; one fetched record set is never cut.
        within: how long the first record may wait for more; zero hands over what is there.
    """

    max_records: int = 4096
    within: timedelta = timedelta(0)


@dataclass(eq=False)
class _Lane:
    """The batches of one partition number (of all topics, or of one), in order, one at a time.

    Attributes:
        busy: held while a batch is handled, so that its owner can look at what is between batches.
    """

    waiting: asyncio.Queue[BatchMessage] = field(default_factory=asyncio.Queue)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    held_back: BatchMessage | None = None
    phase: float = 0.0

    def closes(self, now_s: float, within_s: float) -> float:
        """When the window that is open now closes: every `within_s`, at a moment of this lane's own."""
        return now_s + within_s - (now_s + self.phase * within_s) % within_s if within_s else now_s


class Group:
    """One member of a consumer group, reading `topics` of the table.

    `handle` is called with what has arrived on one partition; when it returns, those records are committed (within
    `settings.commit_interval`), so by then everything that follows from them must be delivered. Batches of the same
    partition number, whatever their topic, are handled one after the other (unless `topics_apart`); different partition
    numbers concurrently. What `handle` raises ends `run`: nothing of that batch is committed.

    Args:
        name: the group, `millrace.<something>`.
        on_assigned: awaited before the first batch of these partitions. Every rebalance revokes all partitions and
            assigns anew, starting at the committed offsets.
        on_revoked: awaited after the last batch of these partitions is finished and committed; also at the end of run.
        before_commit: see `App`; called while no batch of the partitions in question is being handled (unless `topics_apart`).
        due: whether `before_commit` has anything to do for this partition number now; if not, what is finished is committed
            without waiting for the batch in hand.
        topics_apart: a batch does not wait for one of another topic, nor a commit for any batch; those of one topic still come
            in order.
        limit_bytes: how much of a partition may be in hand.
        fetches: shared with the other groups of the process; by default nothing is shared.
    """

    def __init__(
        self,
        name: str,
        topics: Sequence[Topic],
        handle: Handle,
        settings: Settings,
        *,
        on_assigned: Rebalanced = _nothing,
        on_revoked: Rebalanced = _nothing,
        before_commit: BeforeCommit | None = None,
        due: Callable[[int], bool] = lambda _: True,
        batching: Batching = Batching(),
        topics_apart: bool = False,
        limit_bytes: int = FETCH_BYTES,
        fetches: SharedFetches | None = None,
    ) -> None:
        self.name = name
        self._handle, self._batching, self._before_commit, self._due = handle, batching, before_commit, due
        self._on_revoked = on_revoked
        self._lanes: dict[tuple[int, str | None], _Lane] = {}
        self._topics_apart = topics_apart
        self._tasks: set[asyncio.Task[None]] = set()
        self.app = _app(name, settings)
        self.app.limit_bytes, self.app.fetches = limit_bytes, fetches
        self.app.assigned, self.app.revoked = on_assigned, on_revoked
        self.app.before_commit = self._committable
        self.app.take = self._take
        # Faust subscribes to what its agents read.
        self.app.agent(self.app.topic(*(topic.name for topic in topics)), name="batches")(_never_called)

    async def run(self) -> None:
        """Consume until cancelled; then finish what is in hand, commit it and leave the group."""
        self.app.failed = asyncio.get_running_loop().create_future()
        try:
            await self.app.start()
            await self.app.failed
        finally:
            await self._stop()

    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions this member owns now."""
        owned = self.app.consumer.assignment() if self.app.started else set()
        return frozenset(TopicPartition(*where) for where in owned)

    async def committed(self) -> dict[TopicPartition, int]:
        """The offset each assigned partition is committed up to; its beginning, where nothing ever was."""
        consumer = self.app.consumer
        offsets = {where: offset for where, offset in self.app.found.items() if where in self.assigned()}
        offsets |= self.app.progress.known()
        never = [TP(*where) for where in self.assigned() - offsets.keys()]
        beginnings = await consumer.earliest_offsets(*never) if never else {}
        return offsets | {TopicPartition(*where): offset for where, offset in beginnings.items()}

    def unread(self, where: TopicPartition) -> bool | None:
        """Whether there is anything on this partition that is not finished, as of the last fetch; `None` before that."""
        end: int | None = self.app.consumer.highwater(TP(*where))
        finished = self.app.progress.finished(where)
        if finished is None:
            finished = self.app.found.get(where, 0)
        return None if end is None else finished < end

    async def ends(self, where: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """Up to where each of these partitions can be read, as the broker has it; of the assigned, by default.

        That is where a transaction begins that is open; else behind the last record, or what else the log ends with.
        """
        asked = [TP(*each) for each in (self.assigned() if where is None else where)]
        ends = await self.app.consumer.highwaters(*asked) if asked else {}
        return {TopicPartition(*each): end for each, end in ends.items()}

    async def between_batches(self, look: Callable[[int], Awaitable[None]]) -> None:
        """Await `look` for every partition number that has had a batch, while none of it is being handled.

        Not for a group whose topics are apart: there a partition number has several lanes, and is never as a whole at rest.
        """
        for (partition, _), lane in list(self._lanes.items()):
            async with lane.busy:
                await look(partition)

    async def _stop(self) -> None:
        """Finish what is in hand, commit it and leave the group; give up what takes too long."""
        if not self.app.failed.cancelled() and self.app.failed.done():
            self.app.consumer.unacked.clear()  # the batch that failed will not be finished: do not wait for it
        leaving = asyncio.create_task(self._leave())
        await asyncio.wait([leaving], timeout=STOP_WITHIN_S)
        if not leaving.done():
            log.error("%s: what is in hand was not finished within %g s; leaving without it", self.name, STOP_WITHIN_S)
            self.app.consumer.unacked.clear()  # Faust's wait for it swallows cancellation
            await asyncio.wait([leaving], timeout=STOP_WITHIN_S / 4)
        for task in (leaving, *self._tasks):
            task.cancel()
        await asyncio.gather(leaving, *self._tasks, return_exceptions=True)

    async def _leave(self) -> None:
        assigned = self.assigned()
        await self.app.stop()
        await self._on_revoked(assigned)

    def _take(self, message: BatchMessage) -> None:
        """Put a record set into its lane. The progress bounds what can wait there."""
        self._lane(message.partition, message.topic if self._topics_apart else None).waiting.put_nowait(message)

    def _lane(self, partition: int, topic: str | None = None) -> _Lane:
        """The lane of what is on these; opened when first asked for."""
        where = partition, topic
        if where in self._lanes:
            return self._lanes[where]
        lane = self._lanes[where] = _Lane(phase=partition * _GOLDEN % 1)
        task = asyncio.create_task(self._run_lane(lane), name=f"{self.name}/{partition}")
        self._tasks.add(task)
        task.add_done_callback(self._lane_ended)
        return lane

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.app.fail(error)

    async def _run_lane(self, lane: _Lane) -> None:
        while True:
            messages = await self._gather(lane)
            async with lane.busy:
                for of_topic in _by_topic(messages):
                    await self._handle(_joined([message.batch for message in of_topic]))
                    for message in of_topic:
                        self.app.consumer.ack(message)

    async def _gather(self, lane: _Lane) -> list[BatchMessage]:
        """What waits in the lane; with `within`, what comes until then."""
        first, lane.held_back = lane.held_back or await lane.waiting.get(), None
        messages, count = [first], len(first.batch.records)
        deadline = lane.closes(time.monotonic(), self._batching.within.total_seconds())
        while (message := await _next(lane.waiting, deadline)) is not None:
            count += len(message.batch.records)
            if count > self._batching.max_records:
                lane.held_back = message
                break
            messages.append(message)
        return messages

    async def _committable(self, offsets: Committable, last_chance: bool) -> Committable:
        """Ask `before_commit` partition by partition, between batches; at once, where topics are apart."""
        if self._before_commit is None:
            return offsets
        if self._topics_apart:  # a lane that is kept idle for the commit would make another wait that needs its answers
            return await self._before_commit(offsets, last_chance)
        allowed: dict[TopicPartition, int] = {}
        for partition in {where.partition for where in offsets}:
            if not (last_chance or self._due(partition)):
                allowed.update((where, offset) for where, offset in offsets.items() if where.partition == partition)
                continue
            async with self._lane(partition).busy:
                finished = self.app.progress.committable()
                here = {where: offset for where, offset in finished.items() if where.partition == partition}
                allowed.update(await self._before_commit(here, last_chance))
        return allowed


async def _never_called(stream: Any) -> None:
    """The agent Faust knows of. Its stream stays empty: record sets go past it (`transport.Consumer`)."""
    async for _ in stream:
        raise AssertionError("a record set went through Faust's stream")


async def _next(waiting: asyncio.Queue[BatchMessage], deadline: float) -> BatchMessage | None:
    """The next record set of a lane, or `None` at the deadline."""
    try:
        return waiting.get_nowait()
    except asyncio.QueueEmpty:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return None
    try:
        async with asyncio.timeout(remaining):  # up to Python 3.11 `wait_for` may lose a cancellation
            return await waiting.get()
    except TimeoutError:
        return None


def _by_topic(messages: list[BatchMessage]) -> list[list[BatchMessage]]:
    """Between topics there is no order to keep, so those of one topic come together."""
    topics: dict[str, list[BatchMessage]] = {}
    for message in messages:
        topics.setdefault(message.batch.topic, []).append(message)
    return list(topics.values())


def _joined(batches: list[RecordBatch]) -> RecordBatch:
    first = batches[0]
    if len(batches) == 1:
        return first
    records = [record for batch in batches for record in batch.records]
    size = sum(batch.size for batch in batches)
    return RecordBatch(first.topic, first.partition, records, batches[-1].next_offset, size)


def _apart(interval_s: float) -> float:
    """At most this long, and a little different for each group.

    Groups that share a process start together, and would ever after commit together, some 5 ms each: a ride that came just
    then waited for all of them.
    """
    return interval_s * random.uniform(0.75, 1.0)  # noqa: S311 - jitter, not a secret


def _app(name: str, settings: Settings) -> App:
    """A Faust app with everything switched off that this project does otherwise."""
    session_s = settings.session_timeout.total_seconds()
    return App(
        id=name,
        broker=[f"aiokafka://{address}" for address in (settings.kafka or "").split(",")],
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        TableManager=TableManager,
        stream_wait_empty=True,  # a rebalance waits for what is in hand; off by default
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=_apart(settings.commit_interval.total_seconds()),
        broker_session_timeout=session_s,
        broker_heartbeat_interval=_apart(session_s / 6),  # a member learns of a rebalance by its next heartbeat
        broker_rebalance_timeout=60.0,
        broker_request_timeout=40.0,  # a short one turns a 20 s outage into failures (see app.bus)
        broker_client_id=name,
    )
