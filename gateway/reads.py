"""What the gateway reads from the store: off the event loop, a few at a time, with a deadline, the owner's only."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from msgspec import Struct

from app.costs import Costs
from app.decisions import Decision
from app.errors import ServiceUnavailable
from app.predictions import Prediction
from app.sql.card_figures import CardFigures, figures
from app.sql.ledger import LiveError, SubjectKey
from app.store import Store

T = TypeVar("T")
AT_ONCE = 8  # as many threads, and connections, as the store's pool has


class Decided(Struct, frozen=True, kw_only=True):
    """The latest decision on a subject, and every prediction about it, corrections included."""

    subject_id: str
    decision: Decision
    predictions: tuple[Prediction, ...]


class OffLoop:
    """Runs queries in threads, so many at a time; raises `ServiceUnavailable` when one has not ended by the deadline."""

    def __init__(self, at_once: int, deadline: timedelta) -> None:
        self._room, self._deadline_s = asyncio.Semaphore(at_once), deadline.total_seconds()

    async def __call__(self, query: Callable[[], T]) -> T:
        """What `query` returns or raises."""
        try:
            async with asyncio.timeout(self._deadline_s), self._room:
                return await asyncio.to_thread(query)
        except TimeoutError as error:
            raise ServiceUnavailable("database", "it has not answered in time") from error


class Reads:
    """Raises `ServiceUnavailable` ("database") when the store does not answer in time."""

    def __init__(self, store: Store, costs: Costs, deadline: timedelta = timedelta(seconds=5)) -> None:
        self._store, self._costs, self._read = store, costs, OffLoop(AT_ONCE, deadline)

    async def decided(self, user_id: str, subject_id: str) -> Decided | None:
        """`None` when there is no decision, or it is not the user's: the two look the same from outside."""
        return await self._read(lambda: _decided(self._store, SubjectKey(user_id, subject_id)))

    async def receipt(self, user_id: str, subject_id: str) -> dict[str, object] | None:
        """Where everything about a subject lies in the log and when each hop happened; `None` as in `decided`."""
        return await self._read(lambda: self._store.receipt(SubjectKey(user_id, subject_id)))

    async def snapshot(self, user_id: str) -> list[Decision]:
        return await self._read(lambda: self._store.snapshot(user_id))

    async def live_errors(self) -> list[LiveError]:
        return await self._read(self._store.live_errors)

    async def actions(self) -> dict[str, int]:
        """How often each action was decided, revisions included."""
        return await self._read(self._store.actions)

    async def cards(self) -> CardFigures | None:
        """What the decisions on card transactions were worth; `None` before the first."""
        tallies = await self._read(self._store.charge_tallies)
        return figures(tallies, self._costs) if tallies else None


def _decided(store: Store, subject: SubjectKey) -> Decided | None:
    decision = store.decision(subject)
    if decision is None:
        return None
    return Decided(subject_id=subject.subject_id, decision=decision, predictions=tuple(store.predictions(subject)))
