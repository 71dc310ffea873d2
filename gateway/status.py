"""The system at a glance, for the page and the terminal: rates, lag, live errors; gathered in one task, never per request.

Reads Kafka's own books (end offsets, group offsets) and the store; the same task finds out which parts answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from app.clock import utc_now
from app.errors import MillraceError, ServiceUnavailable
from app.live_log import UNREACHABLE
from app.sql.card_figures import CardFigures
from app.sql.ledger import LiveError
from app.topics import EVENTS, PREDICTIONS
from gateway.books import Books, Ends
from gateway.reads import Reads

T = TypeVar("T")

EVERY_S = 1.0
WINDOW_S = 5.0  # the rates are means over this
ASKED_S = 15.0  # groups and errors are only gathered when somebody asked within this
_STEP_S = 3.0

SERIES = ("events", "predictions", "decisions")


class AgentStatus(Struct, frozen=True, kw_only=True):
    """One consumer group: `lag` is records written that it has not yet committed."""

    name: str
    group: str
    members: int
    lag: int


class SystemStatus(Struct, frozen=True, kw_only=True):
    """What `GET /v1/status` answers.

    Attributes:
        rates: per second; events and predictions by Kafka's books, decisions by the store's. Predictions on transactions lie
            many to a record: they count once they are decided, as each is within the second.
        errors: each model's live error against the ground truth so far.
        decisions: how often each action was decided.
        cards: what the decisions on card transactions were worth; `None` before the first.
        connections: open live connections of this gateway.
    """

    at: datetime
    uptime_s: float
    rates: dict[str, float]
    agents: tuple[AgentStatus, ...]
    errors: tuple[LiveError, ...]
    decisions: dict[str, int]
    cards: CardFigures | None
    connections: int


class Status:
    """Gathers; `run` does so until cancelled.

    Args:
        ping_redis: raises when Redis does not answer.
    """

    def __init__(
        self, books: Books, reads: Reads, ping_redis: Callable[[], Awaitable[object]], connections: Callable[[], int]
    ) -> None:
        self._books, self._reads, self._ping_redis, self._connections = books, reads, ping_redis, connections
        self._began = time.monotonic()
        self._asked = 0.0
        self._samples: deque[tuple[float, dict[str, int]]] = deque()
        self._ends: Ends = {}
        self._agents: tuple[AgentStatus, ...] = ()
        self._errors: tuple[LiveError, ...] = ()
        self._actions: dict[str, int] = {}
        self._cards: CardFigures | None = None
        self._down = dict.fromkeys(("kafka", "redis", "database"), "it has not been asked yet")
        self._gathered = asyncio.Condition()

    @property
    def down(self) -> dict[str, str]:
        """The parts that do not answer, and what they say instead; empty when the gateway is ready."""
        return self._down

    async def run(self) -> None:
        try:
            while True:
                await self._gather()
                async with self._gathered:
                    self._gathered.notify_all()
                await asyncio.sleep(EVERY_S)
        finally:
            await self._books.close()

    async def current(self) -> SystemStatus:
        """The status, at most about a second old."""
        fresh = time.monotonic() - self._asked < ASKED_S
        self._asked = time.monotonic()
        if not fresh:
            await self._next()
        return SystemStatus(
            at=utc_now(),
            uptime_s=round(time.monotonic() - self._began, 1),
            rates=self._rates(),
            agents=self._agents,
            errors=self._errors,
            decisions=self._actions,
            cards=self._cards,
            connections=self._connections(),
        )

    async def _next(self) -> None:
        """Wait for the next gathering, but not for a part that hangs."""
        try:
            async with asyncio.timeout(2 * EVERY_S), self._gathered:
                await self._gathered.wait()
        except TimeoutError:
            return

    async def _gather(self) -> None:
        down: dict[str, str] = {}
        asked = time.monotonic() - self._asked < ASKED_S
        await asyncio.gather(
            _attempt("kafka", self._count(asked), down),
            _attempt("redis", self._ping_redis(), down),
            _attempt("database", self._read(asked), down),
        )
        self._down = down
        if not down.keys() & {"kafka", "database"}:
            self._sample()

    async def _count(self, asked: bool) -> None:
        self._ends = ends = await self._books.ends()
        if asked:
            groups = await self._books.groups(ends)
            self._agents = tuple(
                AgentStatus(
                    name=group.name.removeprefix("millrace."), group=group.name, members=group.members, lag=group.lag
                )
                for group in groups
            )

    async def _read(self, asked: bool) -> None:
        self._actions = await self._reads.actions()
        self._cards = await self._reads.cards()
        if asked:
            self._errors = tuple(await self._reads.live_errors())

    def _sample(self) -> None:
        now, cards = time.monotonic(), self._cards
        transactions = cards.allowed + cards.reviewed + cards.blocked if cards else 0
        counts = {
            "events": self._records(*(topic.name for topic in EVENTS)),
            "predictions": self._records(PREDICTIONS.name) + transactions,
            "decisions": sum(self._actions.values()),
        }
        self._samples.append((now, counts))
        while now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()

    def _records(self, *topics: str) -> int:
        return sum(end for (topic, _), end in self._ends.items() if topic in topics)

    def _rates(self) -> dict[str, float]:
        if len(self._samples) < 2:
            return dict.fromkeys(SERIES, 0.0)
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return {name: round(max(0, last[name] - first[name]) / (ended - began), 1) for name in SERIES}


async def _attempt(part: str, work: Awaitable[object], down: dict[str, str]) -> None:
    try:
        async with asyncio.timeout(_STEP_S):
            await work
    except (MillraceError, *UNREACHABLE) as error:
        down[part] = str(error) if isinstance(error, ServiceUnavailable) else "it does not answer"
