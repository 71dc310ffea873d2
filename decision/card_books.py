"""The books of the card decisions: the journal, asked in a thread of its own, patiently; and what is to be written at the commit.

Between `decision.card_worker` and `app.sql.card_journal`; to `decision.push.Announcer` it is the outbox.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from app.clock import utc_now
from app.decisions import Decision
from app.errors import ServiceUnavailable
from app.events import FraudReported
from app.sql.card_journal import CardJournal
from app.sql.card_ledger import Count, Kept, Pending
from app.sql.journal import Unpushed
from app.sql.ledger import DecisionKey, Mark
from decision.clerk import Clerk


class CardBooks:
    """One per worker.

    Raises `ServiceUnavailable` when the database stays away, and `MillraceError` when another worker counts the same partition;
    the worker ends then, and nothing is committed.
    """

    def __init__(self, clerk: Clerk[CardJournal]) -> None:
        self._clerk = clerk
        self._counts: dict[int, Count] = {}
        self._unwritten: set[int] = set()
        self._marks: list[Mark] = []
        self._reports: list[FraudReported] = []
        self._settling = asyncio.Lock()
        self._failure: Exception | None = None

    async def open(self, ends: Mapping[int, int]) -> None:
        """Take partitions over, whose logs end there.

        What is counted beyond the end was of a log that is no more: the count begins anew.
        """
        counted = await self._clerk.ask(lambda journal: journal.counted(ends.keys()))
        for partition, end in ends.items():
            offset = counted.get(partition, 0)
            self._counts[partition] = Count(offset if offset <= end else 0, since=offset)

    async def close(self, partitions: Collection[int]) -> None:
        """Give partitions up, with all that is known of them written down."""
        await self.settle()
        for partition in partitions:
            self._counts.pop(partition, None)

    def counted(self, partition: int) -> int:
        """The offset before which everything that was allowed is counted."""
        return self._counts[partition].offset

    async def keep(
        self, kept: Sequence[Kept], through: Mapping[int, int] | None = None
    ) -> Mapping[DecisionKey, Decision]:
        """Write decisions down; returns those that stood there already, and stand.

        `through` says of a partition up to which offset everything allowed is counted now that it is written down; without
        it, allowed ones among these are counted elsewhere, or were before.
        """
        async with self._writing():
            for partition, offset in (through or {}).items():
                self.allowed(partition, (), offset)
            pending, now = self._unsettled(), utc_now()
            return await self._clerk.ask(lambda journal: journal.keep(kept, now, pending, counted=through is None))

    def allowed(self, partition: int, counts: Iterable[tuple[int, int]], next_offset: int) -> None:
        """Count what was allowed and is not kept: so many by each of these records. What was counted is not counted again."""
        count = self._counts[partition]
        if next_offset > count.offset:
            count.allowed += sum(n for offset, n in counts if offset >= count.offset)
            count.offset = next_offset
            self._unwritten.add(partition)

    def marked(self, marks: Iterable[Mark]) -> None:
        """How far decisions have been pushed: written down at the commit."""
        self._marks += marks

    def reported(self, reports: Iterable[FraudReported]) -> None:
        """Frauds: counted at the commit, for they come a few at a time, and a transaction for each few is dear."""
        self._reports += reports

    async def settle(self) -> None:
        """Write down what was counted, marked and reported; when it returns, all that was before the call is written."""
        async with self._writing():
            pending, now = self._unsettled(), utc_now()
            if pending:
                await self._clerk.ask(lambda journal: journal.settle(pending, now))

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """One write at a time; after one that failed, or of whose end nothing was heard, no other.

        It took with it what had been counted and reported on any partition. A worker that ends still commits what is finished,
        and would commit that, too, if it could settle without it.
        """
        async with self._settling:
            if self._failure is not None:
                raise self._failure
            try:
                yield
            except Exception as error:
                self._failure = error
                raise
            except BaseException:
                self._failure = ServiceUnavailable("database", "the end of the last write was not waited for")
                raise

    def _unsettled(self) -> Pending:
        """What is to be written down; it counts as written from now on, see `_writing`."""
        counts = {partition: replace(self._counts[partition]) for partition in self._unwritten}
        pending = Pending(counts, self._marks, self._reports)
        self._marks, self._reports = [], []
        for partition in self._unwritten:
            count = self._counts[partition]
            self._counts[partition] = Count(count.offset, since=count.offset)
        self._unwritten.clear()
        return pending

    async def unpublished(self, limit: int) -> list[Unpushed]:
        """The oldest decisions on the topic that the live channel may not have had."""
        await self.settle()
        partitions = list(self._counts)
        return await self._clerk.ask(lambda journal: journal.unpublished(partitions, limit))

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Write marks down now."""
        self.marked(marks)
        await self.settle()
