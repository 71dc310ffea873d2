"""The books: the joins of a worker's partitions and the journal they are written down in.

`decision.desk` turns their pages. What a step returns is written down already.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from app.decisions import Decision
from app.sql.journal import Journal, Unpushed
from app.sql.ledger import DecisionKey, Entry, Made, Mark, SubjectKey
from decision.clerk import Clerk
from decision.join import Effects, Join, Sourced

SMALL = 64
"""Messages of a step that is written down in the event loop: ten rides with their answers, some 3 ms on a file."""


class Laid(NamedTuple):
    """A batch of one partition."""

    partition: int
    batch: Sequence[Sourced]


class Books:
    """What has been read and decided, partition by partition. Steps wait for one another.

    Args:
        new_join: an empty join, for a partition that is taken over.
    """

    def __init__(self, clerk: Clerk[Journal], new_join: Callable[[], Join]) -> None:
        self._clerk, self._new_join = clerk, new_join
        self._joins: dict[int, Join] = {}
        self._turn = asyncio.Lock()

    @property
    def partitions(self) -> list[int]:
        return sorted(self._joins)

    async def open(self, partitions: Collection[int], now: datetime) -> list[Unpushed]:
        """Take partitions over, with what waits there for a decision.

        Returns the decisions that may not be on the topic yet.
        """
        async with self._turn:
            fresh = {partition: self._new_join() for partition in partitions}
            waiting = await self._clerk.ask(lambda journal: journal.load(journal.undecided(partitions)))
            for subject in waiting:
                homes = {case.position.partition for case in subject.cases}
                for partition in homes & fresh.keys():
                    fresh[partition].restore([subject], now)
            self._joins.update(fresh)
            return await self._clerk.ask(lambda journal: journal.undelivered(partitions))

    async def close(self, partitions: Collection[int]) -> None:
        """Give partitions up."""
        async with self._turn:
            for partition in partitions:
                self._joins.pop(partition, None)

    async def step(
        self, laid: Sequence[Laid], clocks: Mapping[int, datetime], marks: Sequence[Mark], now: datetime
    ) -> list[Effects]:
        """Join what was laid down, decide what is due by each partition's clock, and write all of it down at once.

        A batch of a partition that was given up is passed over: its successor gets those records again.
        """
        async with self._turn:
            batches = [(self._joins[each.partition], each.batch) for each in laid if each.partition in self._joins]
            small = sum(len(batch) for _, batch in batches) <= SMALL
            await self._restore(batches, now, small)
            effects = [join.apply(batch, now) for join, batch in batches]
            effects += [join.expire(now, clocks.get(partition, now)) for partition, join in self._joins.items()]
            whole = Entry(now)
            for each in effects:
                whole.merge(each.entry)
            if standing := await self._save(whole, marks, small):
                for each in effects:
                    each.entry.decisions = [_as_it_stands(made, standing) for made in each.entry.decisions]
            return effects

    async def mark(self, marks: Sequence[Mark], now: datetime) -> None:
        """Write down how far decisions have been pushed."""
        async with self._turn:
            await self._save(Entry(now), marks, small=False)

    async def unpublished(self, limit: int) -> list[Unpushed]:
        """The oldest decisions on the topic that the live channel may not have had."""
        return await self._clerk.ask(lambda journal: journal.unpublished(self.partitions, limit))

    def next_deadline(self) -> datetime | None:
        """When a step has something to decide, whether or not a batch comes."""
        return min((due for join in self._joins.values() if (due := join.next_deadline())), default=None)

    async def _restore(self, batches: Sequence[tuple[Join, Sequence[Sourced]]], now: datetime, small: bool) -> None:
        """Read back, at once, the subjects that are touched and not held."""
        unknown: dict[SubjectKey, Join] = {key: join for join, batch in batches for key in join.unknown(batch)}
        if unknown:
            for subject in await self._clerk.ask(lambda journal: journal.load(unknown.keys()), small=small):
                unknown[subject.key].restore([subject], now)

    async def _save(self, entry: Entry, marks: Sequence[Mark], small: bool) -> Mapping[DecisionKey, Decision]:
        """Returns the decisions that stood there already."""
        if not entry and not marks:
            return {}
        return await self._clerk.ask(lambda journal: journal.save(entry, marks), small=small)


def _as_it_stands(made: Made, standing: Mapping[DecisionKey, Decision]) -> Made:
    return made._replace(decision=standing.get(DecisionKey.of(made.decision), made.decision))
