"""The desk: everything that has arrived, on whatever partition, is taken in one step and written down in one transaction.

`decision.worker` lays batches on it, `decision.books` does the step, `decision.push` gets what is to be told. Deadlines wake
it, whether or not messages come.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from app.clock import utc_now
from app.sql.journal import Unpushed
from app.sql.ledger import Mark
from decision.books import Books, Laid
from decision.join import Sourced
from decision.push import Parcel, Push

Clock = Callable[[int, datetime], datetime]
"""How far a partition's clock has come at a wall time: it stays behind while answers are still to be read."""

EVENTS_WITHIN = timedelta(milliseconds=25)
"""An event alone decides nothing: it is written down with the answers to it, which come some 15 ms later; when they do not,
after this long. A transaction for each cost the worker a third of its time at 100 rides a second."""

MARKS_WITHIN = timedelta(milliseconds=200)
"""Marks go with the next step; when none comes, after this long. A kill before that only pushes again."""

HELD = timedelta(milliseconds=20)
"""How soon a deadline that is held back, because answers are still to be read, is looked at again."""


def unhindered(_partition: int, now: datetime) -> datetime:
    return now


class Desk:
    """One per worker; `run` must be running for `take` to return."""

    def __init__(self, books: Books, clock: Clock = unhindered, now: Callable[[], datetime] = utc_now) -> None:
        self._books, self._clock, self._now = books, clock, now
        self._laid: list[tuple[Laid, asyncio.Future[None]]] = []
        self._laid_due: datetime | None = None
        self._marks: list[Mark] = []
        self._marks_due: datetime | None = None
        self._due: datetime | None = None
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None

    async def open(self, partitions: Collection[int]) -> list[Unpushed]:
        """Take partitions over. Returns the decisions of theirs that may not be on the topic yet."""
        undelivered = await self._books.open(partitions, self._now())
        self._due = self._books.next_deadline()
        self._wake.set()
        return undelivered

    async def close(self, partitions: Collection[int]) -> None:
        """Give partitions up, with what was pushed of them marked."""
        await self.mark(())
        await self._books.close(partitions)

    async def take(self, partition: int, batch: Sequence[Sourced], within: timedelta = timedelta(0)) -> None:
        """Lay a batch down; returns when it is written down and handed to the push. Raises what ended the desk.

        A batch that may wait goes with the next one that may not, or by itself when its time is up.
        """
        if self._failure is not None:
            raise self._failure
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._laid.append((Laid(partition, batch), done))
        due = self._now() + within
        self._laid_due = due if self._laid_due is None else min(due, self._laid_due)
        self._wake.set()
        await done

    def marked(self, marks: Sequence[Mark]) -> None:
        """How far decisions have been pushed: written down with the next step, which is not long in coming."""
        self._marks += marks
        if self._marks_due is None:
            self._marks_due = self._now() + MARKS_WITHIN
            self._wake.set()

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Write marks down now, with those that wait."""
        await self._books.mark([*self._take_marks(), *marks], self._now())

    async def unpublished(self, limit: int) -> list[Unpushed]:
        """The oldest decisions on the topic that the live channel may not have had."""
        await self.mark(())
        return await self._books.unpublished(limit)

    async def run(self, push: Push) -> None:
        """Step by step, until cancelled. Raises `ServiceUnavailable` when the database is away for too long."""
        try:
            while True:
                await self._something()
                await self._step(push)
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._let_go()

    async def _something(self) -> None:
        """Wait until something is due: a batch, a deadline, marks."""
        while True:
            self._wake.clear()
            due = min((at for at in (self._laid_due, self._due, self._marks_due) if at), default=None)
            wait_s = None if due is None else (due - self._now()).total_seconds()
            if wait_s is not None and wait_s <= 0:
                return
            try:
                async with asyncio.timeout(wait_s):  # up to Python 3.11 `wait_for` may lose a cancellation
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _step(self, push: Push) -> None:
        laid, self._laid, self._laid_due = self._laid, [], None
        marks = self._take_marks()
        now = self._now()
        clocks = {partition: self._clock(partition, now) for partition in self._books.partitions}
        try:
            effects = await self._books.step([each for each, _ in laid], clocks, marks, now)
            due = self._books.next_deadline()
            self._due = due if due is None or due > now else now + HELD
            for each in effects:
                if each.figures or each.entry.decisions:
                    await push.put(Parcel(each.figures, each.entry.decisions))
        except BaseException:
            self._laid = [*laid, *self._laid]  # so that all who wait are told
            raise
        for _, done in laid:
            if not done.done():
                done.set_result(None)

    def _take_marks(self) -> list[Mark]:
        marks, self._marks, self._marks_due = self._marks, [], None
        return marks

    def _let_go(self) -> None:
        """The desk has ended: whoever waits for it must not wait for ever."""
        for _, done in self._laid:
            if not done.done() and isinstance(self._failure, Exception):
                done.set_exception(self._failure)
            else:
                done.cancel()
