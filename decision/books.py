"""The books: the joins of a worker's partitions and the journal they are written down in. Synchronous, one caller at a time.

`decision.desk` keeps them in a thread of their own. What a step returns is written down already.
"""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from app.decisions import Decision
from app.errors import ServiceUnavailable
from app.sql.journal import Journal, Unpushed
from app.sql.ledger import DecisionKey, Entry, Made, Mark, SubjectKey
from decision.join import Effects, Join, Sourced

T = TypeVar("T")

TRIES, PAUSE_S = 6, 0.25
"""The database is asked again after 0.25, 0.5, 1, 2, 4 s (each up to doubled at random); then the worker gives up:
nothing of the batch is committed, and its supervisor starts another."""


class Laid(NamedTuple):
    """A batch of one partition."""

    partition: int
    batch: Sequence[Sourced]


class Books:
    """What has been read and decided, partition by partition.

    Args:
        new_join: an empty join, for a partition that is taken over.
    """

    def __init__(self, journal: Journal, new_join: Callable[[], Join], pause_s: float = PAUSE_S) -> None:
        self._journal, self._new_join, self._pause_s = journal, new_join, pause_s
        self._joins: dict[int, Join] = {}

    @property
    def partitions(self) -> list[int]:
        return sorted(self._joins)

    def open(self, partitions: Collection[int], now: datetime) -> list[Unpushed]:
        """Take partitions over, with what waits there for a decision.

        Returns the decisions that may not be on the topic yet.
        """
        fresh = {partition: self._new_join() for partition in partitions}
        waiting = self._patiently(lambda: self._journal.load(self._journal.undecided(partitions)))
        for subject in waiting:
            homes = {case.position.partition for case in subject.cases}
            for partition in homes & fresh.keys():
                fresh[partition].restore([subject], now)
        self._joins.update(fresh)
        return self._patiently(lambda: self._journal.undelivered(partitions))

    def close(self, partitions: Collection[int]) -> None:
        """Give partitions up."""
        for partition in partitions:
            self._joins.pop(partition, None)

    def step(
        self, laid: Sequence[Laid], clocks: Mapping[int, datetime], marks: Sequence[Mark], now: datetime
    ) -> list[Effects]:
        """Join what was laid down, decide what is due by each partition's clock, and write all of it down at once.

        A batch of a partition that was given up is passed over: its successor gets those records again.
        """
        batches = [(self._joins[each.partition], each.batch) for each in laid if each.partition in self._joins]
        self._restore(batches, now)
        effects = [join.apply(batch, now) for join, batch in batches]
        effects += [join.expire(now, clocks.get(partition, now)) for partition, join in self._joins.items()]
        whole = Entry(now)
        for each in effects:
            whole.merge(each.entry)
        standing = self.save(whole, marks)
        if standing:
            for each in effects:
                each.entry.decisions = [_as_it_stands(made, standing) for made in each.entry.decisions]
        return effects

    def save(self, entry: Entry, marks: Sequence[Mark]) -> Mapping[DecisionKey, Decision]:
        """Write down; returns the decisions that stood there already."""
        return self._patiently(lambda: self._journal.save(entry, marks)) if entry or marks else {}

    def unpublished(self, limit: int) -> list[Unpushed]:
        return self._patiently(lambda: self._journal.unpublished(self.partitions, limit))

    def next_deadline(self) -> datetime | None:
        """When a step has something to decide, whether or not a batch comes."""
        return min((due for join in self._joins.values() if (due := join.next_deadline())), default=None)

    def _restore(self, batches: Sequence[tuple[Join, Sequence[Sourced]]], now: datetime) -> None:
        """Read back, at once, the subjects that are touched and not held."""
        unknown: dict[SubjectKey, Join] = {key: join for join, batch in batches for key in join.unknown(batch)}
        if unknown:
            for subject in self._patiently(lambda: self._journal.load(unknown.keys())):
                unknown[subject.key].restore([subject], now)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Ask the database, and ask again while it does not answer. Raises `ServiceUnavailable` at last."""
        for attempt in range(TRIES - 1):
            try:
                return work()
            except ServiceUnavailable:
                time.sleep(self._pause_s * 2**attempt * random.uniform(1, 2))  # noqa: S311 - jitter, not a secret
        return work()


def _as_it_stands(made: Made, standing: Mapping[DecisionKey, Decision]) -> Made:
    return made._replace(decision=standing.get(DecisionKey.of(made.decision), made.decision))
