"""The decision worker: consumes rides, uploads and predictions as one consumer group, and decides.

The wiring: `admission` (bytes to messages) -> `desk` (join, policy, store) -> `push` (topic `decisions`, Redis). Offsets
are committed when all that follows from them is pushed; a decision is in the store's outbox from the moment it is made.
"""

from collections.abc import Mapping
from datetime import timedelta

from aiokafka.structs import TopicPartition
from faust.exceptions import ConsumerNotStarted

from app.bus import Producer, deliver
from app.clock import utc_now
from app.events import Kind
from app.live import LivePublisher
from app.modes.consuming.group import Group
from app.modes.consuming.progress import RecordBatch
from app.modes.consuming.watchdog import watch
from app.settings import Settings
from app.sql.journal import Journal
from app.sql.ledger import Made
from app.telemetry import RECORDS
from app.topics import PREDICTIONS
from decision import housekeeping, serving
from decision.admission import AGENT, TOPICS, Admission
from decision.books import Books
from decision.clerk import Clerk
from decision.desk import EVENTS_WITHIN, Desk
from decision.join import Join
from decision.policy import judge
from decision.push import Announcer, Parcel, Push
from decision.reading import Reading

GROUP = f"millrace.{AGENT}"


class Worker:
    """The handlers of the consumer group; `serve` runs it."""

    def __init__(self, settings: Settings, journal: Journal, producer: Producer, publisher: LivePublisher) -> None:
        deadlines: dict[Kind, timedelta] = {"ride": settings.ride_deadline, "upload": settings.upload_deadline}
        self._settings, self._journal, self._producer = settings, journal, producer
        self._admission, self._reading = Admission(), Reading(self._unread)
        self._clerk = Clerk(journal)
        self._desk = Desk(Books(self._clerk, lambda: Join(judge, deadlines)), self._reading.reached)
        self._announcer = Announcer(publisher, self._desk)
        self._push = Push(producer, self._announcer, self._desk.marked)
        self._group = Group(
            GROUP,
            TOPICS,
            self._handle,
            settings,
            on_assigned=self._assigned,
            on_revoked=self._revoked,
            before_commit=self._committable,
            topics_apart=True,  # the join does not mind the order, and answers need not wait for events
        )

    async def serve(self) -> None:
        """Consume until cancelled, then finish what is in hand. Raises what made it impossible to go on."""
        try:
            await serving.helped(
                [self._group.run(), watch(self._group, self._settings.stuck_after)],
                [
                    self._desk.run(self._push),
                    self._push.run(),
                    self._announcer.run(),
                    housekeeping.run(self._journal, self._settings.store_retention),
                ],
            )
        finally:
            self._clerk.close()

    async def _handle(self, batch: RecordBatch) -> None:
        """What has arrived on one partition of one topic."""
        messages, dead = self._admission.admit(batch.topic, batch.records, utc_now())
        RECORDS.labels(AGENT, "joined").inc(len(messages))
        RECORDS.labels(AGENT, "failed").inc(len(dead))
        await deliver(self._producer, dead)
        answers = batch.topic == PREDICTIONS.name
        if messages:
            await self._desk.take(batch.partition, messages, timedelta(0) if answers else EVENTS_WITHIN)
        if answers:
            self._reading.read(batch.partition, batch.records[-1].timestamp_ms)

    async def _assigned(self, where: frozenset[TopicPartition]) -> None:
        partitions = {tp.partition for tp in where}
        self._reading.forget()
        undelivered = await self._desk.open(partitions)
        again = [Made(each.decision, 0, each.traceparent) for each in undelivered]
        await self._push.put(Parcel(decisions=again, again=True))
        self._announcer.catch_up()

    async def _revoked(self, where: frozenset[TopicPartition]) -> None:
        await self._push.drained()
        await self._desk.close({tp.partition for tp in where})

    async def _committable(
        self,
        offsets: Mapping[TopicPartition, int],
        last_chance: bool,  # noqa: ARG002 - it is all or nothing
    ) -> Mapping[TopicPartition, int]:
        """A batch counts as done when it is written down; it is committed when what follows from it is pushed, too."""
        await self._push.drained()
        return offsets

    def _unread(self, partition: int) -> bool | None:
        """Whether there are answers that are not joined yet, as of the last fetch."""
        try:
            return self._group.unread(TopicPartition(PREDICTIONS.name, partition))
        except ConsumerNotStarted:  # not any more: the worker is being stopped
            return None


async def run(settings: Settings) -> None:
    """See `decision.serving.serve`."""
    await serving.serve(settings, GROUP, Journal.open, Worker)
