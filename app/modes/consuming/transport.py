"""Faust's aiokafka transport, changed so that what was fetched of a partition is handed on as one, past Faust's stream.

Groups, assignment, rebalancing and flow control stay Faust's; its bookkeeping per message goes (it costs two orders of
magnitude), and `Progress` keeps account of what may be committed. `app.modes.consuming.group` builds the app and runs it. Written
against faust-streaming 0.15.3; every override names what it replaces.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
from typing import Any, cast

import aiokafka
import faust
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import TopicPartition
from faust.app import BootStrategy
from faust.tables import manager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message
from mode.utils.futures import maybe_async, notify

from app.codec import Record
from app.modes.consuming.fetching import SharedFetches
from app.modes.consuming.progress import Progress, RecordBatch
from app.modes.consuming.unpacking import arrival, unpack

FETCH_BYTES = 1 << 20
"""At most so much of a partition per fetch: about 4,000 ride events, one batch of the usual `max_batch`."""

_FETCH_WAIT_MS = 500
"""A record that arrives ends the wait at once. But whatever else is asked on the same connection (where a log ends, after a
rebalance) waits for its end; and each idle member costs the broker as many fetches: at 250 ms, 26 members kept it 10 % busy,
and themselves as much, doing nothing."""

Committable = Mapping[TopicPartition, int]
BeforeCommit = Callable[[Committable, bool], Awaitable[Committable]]
Rebalanced = Callable[[frozenset[TopicPartition]], Awaitable[None]]


class _Fetchable(set[TP]):
    """The partitions to drain, asked anew after every arrival: active ones with room for more.

    It is a set to Faust's types only: what is in it is not stored.
    """

    def __init__(self, active: Set[TP], progress: Progress) -> None:
        self._active, self._progress = active, progress

    def __bool__(self) -> bool:
        """Always true, for aiokafka takes an empty set for "every partition"."""
        return True

    def __contains__(self, where: TopicPartition) -> bool:
        return where in self._active and self._progress.has_room(where)


class InLoop(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, in the worker's own event loop.

    Faust gives it a thread and a loop of its own, so that it heartbeats whatever an agent does. Here whatever takes long
    runs in threads (`app.modes.scoring.deadline`, `asyncio.to_thread`), the loop is always free, and each batch is spared
    four hops between threads: on a busy machine every hop waits for a core and for the interpreter.
    """

    consumer: "Consumer"

    async def start(self) -> None:
        """Replaces the start of a thread."""
        await self._default_start()

    async def stop(self) -> None:
        """Replaces the end of a thread."""
        if self._started.is_set() and not self._stopped.is_set():
            self._stopped.set()
            if self._consumer is not None:
                await self._consumer.stop()
            await self._default_stop_children()
            await self._default_stop_futures()
            await self._default_stop_exit_stacks()
            self._shutdown.set()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Replaces a queue into the thread."""
        return await maybe_async(fun(*args, **kwargs))

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        """Faust's own passes neither the fetch wait nor the assignor.

        Range assignment gives a member the same partition numbers of every topic, which the decision worker's join
        rests on; round robin does so only by luck.
        """
        conf = self.app.conf
        consumer = aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            isolation_level="read_committed",
        )
        (self.consumer.app.fetches or SharedFetches()).join(consumer)
        return consumer

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,  # noqa: ARG002 - the whole record set is drained
    ) -> dict[Any, list[RecordBatch]]:
        fetchable = cast("set[TP]", _Fetchable(active_partitions, self.consumer.progress))
        deadline = time.monotonic() + (timeout or 0.0)
        while True:
            unpack(consumer)
            fetched = await super()._fetch_records(consumer, fetchable, 0, None)
            if not self.consumer.flow_active:
                return {}  # what was fetched is fetched again, after the rebalance
            come = {where: [batch] for where, batch in self._come(consumer, fetched, active_partitions)}
            if come or not await arrival(consumer, deadline - time.monotonic()):
                return come

    def _come(
        self, consumer: aiokafka.AIOKafkaConsumer, fetched: Mapping[TopicPartition, list[Record]], active: Iterable[TP]
    ) -> Iterator[tuple[TP, RecordBatch]]:
        """What was fetched; without records where there were none, and yet the position has moved on.

        Only so a group gets to the end of a log that does not end with a record it may read.
        """
        for where in active:
            position, records = _position(consumer, where), fetched.get(where, [])
            if position is not None and (records or position > self.consumer.entered(where)):
                yield where, _batch(where, records, position)

    def highwater(self, tp: TP) -> int:
        """Replaces the end of the log as of the last fetch: what lies behind a transaction that is open cannot be read yet."""
        consumer = self._ensure_consumer()
        stable: int | None = consumer.last_stable_offset(tp)
        if stable is not None and stable >= 0:
            return stable
        end: int = consumer.highwater(tp)  # before the first fetch, and of a broker that knows no transactions
        return end

    def wake(self) -> None:
        """A partition has room again: a fetch that waits looks at what has arrived."""
        if self._consumer is not None:
            for waiter in list(self._consumer._fetcher._fetch_waiters):  # noqa: SLF001 - there is no public way
                if not waiter.done():
                    waiter.set_result(None)


class Consumer(driver.Consumer):
    """Yields record sets, and commits what the progress says is finished.

    Attributes:
        found: the offsets that were committed when the partitions were assigned.
    """

    app: "App"
    _thread: InLoop

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.found: dict[TopicPartition, int] = {}
        self.progress = Progress(self.app.limit_bytes, self._thread.wake)
        self._commit_lock = asyncio.Lock()

    def _new_consumer_thread(self) -> InLoop:
        return InLoop(self, loop=self.loop, beacon=self.beacon, thread_loop=self.loop)

    def entered(self, where: TopicPartition) -> int:
        """Up to which offset a partition has been taken in hand: at first, what was found committed."""
        entered = self.progress.entered(where)
        return self.found.get(where, 0) if entered is None else entered

    def _to_message(self, tp: TP, record: RecordBatch) -> "BatchMessage":
        """Replaces one message per record; entering the progress here keeps its order that of the fetches."""
        self.progress.enter(record)
        return BatchMessage(record, tp, self.app.consumer_generation_id)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Replaces four tasks, a channel and a stream for each message: what was fetched is handed over at once.

        Nothing is awaited in between, so there is nothing to interrupt when partitions are revoked; how much may be
        in hand, the progress says.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for where, each in self.getmany(timeout=1.0):
                    message = cast("BatchMessage", each)
                    self._unacked_messages.add(message)
                    self._read_offset[where] = message.offset
                    if message.batch.records:
                        self.app.take(message)
                    else:
                        self.ack(message)
                await asyncio.sleep(0)  # `getmany` does not wait while there is something
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise

    def ack(self, message: Message) -> bool:
        """Replaces Faust's list of every acked offset."""
        message.acked = True
        self._unacked_messages.discard(message)
        self.progress.finish(cast("BatchMessage", message).batch)
        notify(self._waiting_for_ack)
        return True

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Nothing to do: the progress knows the order of the batches, so it needs no list of missing offsets."""

    async def perform_seek(self) -> None:
        """Faust forgets what it finds here as a rebalance begins, when the batches in hand may still ask for it."""
        await super().perform_seek()
        self.found = {
            TopicPartition(*where): offset for where, offset in self._committed_offset.items() if offset is not None
        }

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Commit every finished partition.

        Faust's takes a refused commit for a done one; here the progress hears only of what the broker accepted.
        """
        async with self._commit_lock:  # two commits on their way could arrive in the wrong order
            offsets = await self.app.before_commit(
                self.progress.committable(), self.app.rebalancing or not self.flow_active
            )
            assigned = self.assignment()
            offsets = {where: offset for where, offset in offsets.items() if where in assigned}
            if not offsets or not await self._commit(offsets):
                return False
            self.progress.committed(offsets)
            return True

    async def commit_and_end_transactions(self) -> None:
        """The last commit before partitions are given up.

        Faust's does nothing when a commit is under way, which may have begun before the last batch was finished.
        """
        await self.force_commit()

    async def verify_all_partitions_active(self) -> None:
        """Replaces a log line that nobody acts on: `app.modes.consuming.watchdog` ends a worker that is stuck."""


class Transport(driver.Transport):
    Consumer = Consumer


class TableManager(manager.TableManager):
    """There are no tables, so start does not wait a second for them to be declared."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class BatchMessage(ConsumerMessage):
    """A record set where Faust has one record."""

    __slots__ = ("batch",)

    def __init__(self, batch: RecordBatch, tp: TP, generation: int) -> None:
        at_s = batch.records[-1].timestamp_ms / 1000 if batch.records else 0.0
        super().__init__(
            batch.topic, batch.partition, batch.next_offset - 1, at_s, 0, None, None, None, None, 0, 0, tp,
            generation_id=generation,
        )  # fmt: skip
        self.batch = batch


class _Boot(BootStrategy):
    enable_kafka_producer = False  # outputs go through app.bus, which says when they are delivered


class App(faust.App):
    """A Faust app that consumes record sets, tells of rebalances, and tells the loop when it has crashed.

    Attributes:
        limit_bytes: how much of a partition may be in hand.
        fetches: shared with the other groups of the process; none, when it is the only one.
        take: is handed each record set; when everything that follows from it is delivered, the consumer is told (`ack`).
        before_commit: given the offsets that could be committed, and whether this is the last chance before the
            partitions are given up, returns those that shall be.
        failed: ends with the error that ended the app.
    """

    BootStrategy = _Boot
    limit_bytes: int = FETCH_BYTES
    fetches: SharedFetches | None = None
    take: Callable[["BatchMessage"], None]
    before_commit: BeforeCommit
    assigned: Rebalanced
    revoked: Rebalanced
    failed: asyncio.Future[None]

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing is kept in the working directory."""

    async def _on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await super()._on_partitions_revoked(revoked)  # finishes what is in hand and commits it
        self.progress.clear()
        if revoked and not self.should_stop:
            await self._tell(self.revoked, revoked)

    async def _on_partitions_assigned(self, assigned: set[TopicPartition], generation_id: int = 0) -> None:
        self.progress.clear()
        if not self.should_stop:
            await self._tell(self.assigned, assigned)
        await super()._on_partitions_assigned(assigned, generation_id)

    @property
    def progress(self) -> Progress:
        return cast("Consumer", self.consumer).progress

    @property
    def found(self) -> dict[TopicPartition, int]:
        """The offsets that were committed when the partitions were assigned."""
        return cast("Consumer", self.consumer).found

    async def _tell(self, hook: Rebalanced, partitions: set[TopicPartition]) -> None:
        try:
            await hook(frozenset(TopicPartition(*where) for where in partitions))
        except Exception as error:
            await self.crash(error)

    def _crash(self, reason: BaseException) -> None:
        """What any service of the app fails with ends here, in the loop's next turn."""
        self.failed.get_loop().call_soon_threadsafe(self.fail, reason)
        super()._crash(reason)

    def fail(self, reason: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(reason)


def _position(consumer: aiokafka.AIOKafkaConsumer, where: TP) -> int | None:
    """Where the next fetch goes on; the public way waits for it."""
    subscription = consumer._subscription.subscription  # noqa: SLF001 - see above
    state = subscription.assignment.state_value(where) if subscription and subscription.assignment else None
    position: int | None = state.position if state is not None and state.has_valid_position else None
    return position


def _batch(where: TP, records: list[Record], next_offset: int) -> RecordBatch:
    return RecordBatch(
        where.topic,
        where.partition,
        records,
        next_offset,
        sum([len(record.value) for record in records if record.value is not None]),
    )
