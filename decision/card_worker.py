"""The card decision worker: consumes predictions on transactions and chargebacks, as a consumer group of its own.

The wiring: the group -> `card_desk` (decide) -> `card_books` (store), topics `decisions` and `alerts`, Redis. Offsets are
committed when all that follows from them is delivered and counted; why it is not `decision.worker`: docs/decisions/0006.
"""

from collections.abc import Mapping
from time import monotonic

from aiokafka.structs import TopicPartition

from app.bus import Producer
from app.costs import Costs
from app.live import LivePublisher
from app.modes.consuming.group import Group
from app.modes.consuming.progress import RecordBatch
from app.modes.consuming.watchdog import watch
from app.settings import Settings
from app.sql.card_journal import CardJournal
from app.topics import CARD_PREDICTIONS, CHARGEBACKS
from decision import housekeeping, serving
from decision.card_books import CardBooks
from decision.card_desk import AGENT, CardDesk
from decision.clerk import Clerk
from decision.push import Announcer
from decision.quota import Quota

GROUP = f"millrace.{AGENT}"
TOPICS = (CARD_PREDICTIONS, CHARGEBACKS)


class CardWorker:
    """The handlers of the consumer group; `serve` runs it."""

    def __init__(self, settings: Settings, journal: CardJournal, producer: Producer, publisher: LivePublisher) -> None:
        self._settings, self._journal = settings, journal
        self._clerk = Clerk(journal)
        self._books = CardBooks(self._clerk)
        self._announcer = Announcer(publisher, self._books)
        quota = Quota(settings.keep_allowed, monotonic())
        self._desk = CardDesk(self._books, producer, self._announcer, Costs.of(settings), quota)
        self._group = Group(
            GROUP,
            TOPICS,
            self._handle,
            settings,
            on_assigned=self._assigned,
            on_revoked=self._revoked,
            before_commit=self._committable,
            topics_apart=True,  # reports and decisions do not mind their order
        )

    async def serve(self) -> None:
        """Consume until cancelled, then finish what is in hand. Raises what made it impossible to go on."""
        try:
            await serving.helped(
                [self._group.run(), watch(self._group, self._settings.stuck_after)],
                [self._announcer.run(), housekeeping.run(self._journal, self._settings.store_retention)],
            )
        finally:
            self._clerk.close()

    async def _handle(self, batch: RecordBatch) -> None:
        """What has arrived on one partition of one topic."""
        if batch.topic == CHARGEBACKS.name:
            await self._desk.report(batch)
        else:
            await self._desk.decide(batch)

    async def _assigned(self, where: frozenset[TopicPartition]) -> None:
        ends = await self._group.ends(tp for tp in where if tp.topic == CARD_PREDICTIONS.name)
        await self._books.open({tp.partition: end for tp, end in ends.items()})
        self._announcer.catch_up()

    async def _revoked(self, where: frozenset[TopicPartition]) -> None:
        await self._books.close({tp.partition for tp in where})

    async def _committable(
        self,
        offsets: Mapping[TopicPartition, int],
        last_chance: bool,  # noqa: ARG002 - it is all or nothing
    ) -> Mapping[TopicPartition, int]:
        """What is finished is committed once it is counted."""
        await self._books.settle()
        return offsets


async def run(settings: Settings) -> None:
    """See `decision.serving.serve`."""
    await serving.serve(settings, GROUP, CardJournal.open, CardWorker)
