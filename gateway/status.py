"""The system at a glance, for the page and the terminal: rates, lag, live errors; gathered in one task, never per request.

Reads Kafka's own books (end offsets, group offsets) and the store, seldom while nobody looks; the same task finds out which
parts answer.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from msgspec import Struct

from app.clock import utc_now
from app.errors import MillraceError, ServiceUnavailable
from app.live_log import UNREACHABLE
from app.sql.card_figures import CardFigures
from app.sql.ledger import LiveError
from app.topics import EVENTS, PREDICTIONS
from gateway.books import Books, Ends
from gateway.reads import Reads

EVERY_S = 1.0
IDLE_S = 5.0
"""Pause while nobody looks: a fifth of the cost, and a part that went away is still known to be within seconds."""
WINDOW_S = 5.0  # the rates are means over this, at least
ASKED_S = 15.0  # somebody looks who asked within this; only then are groups and errors gathered
_STEP_S = 3.0
_PATIENCE_S = 2.0  # who looks waits so long for a part that hangs, and then gets what is known

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
        away: the parts that do not answer ("kafka", "redis", "database"); what they know is told as it was last.
    """

    at: datetime
    uptime_s: float
    rates: dict[str, float]
    agents: tuple[AgentStatus, ...]
    errors: tuple[LiveError, ...]
    decisions: dict[str, int]
    cards: CardFigures | None
    connections: int
    away: tuple[str, ...] = ()


class Status:
    """Gathers; `run` does so until cancelled.

    Args:
        ping_redis: raises when Redis does not answer.
        every_s, idle_s: the pause between two gatherings, while somebody looks or a part is away, and else.
    """

    def __init__(
        self,
        books: Books,
        reads: Reads,
        ping_redis: Callable[[], Awaitable[object]],
        connections: Callable[[], int],
        *,
        every_s: float = EVERY_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._books, self._reads, self._ping_redis, self._connections = books, reads, ping_redis, connections
        self._every_s, self._idle_s = every_s, idle_s
        self._began = time.monotonic()
        self._asked = self._whole = float("-inf")  # when somebody last asked, and when all was last gathered for them
        self._looked = asyncio.Event()
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
                await self._pause()
        finally:
            await self._books.close()

    async def current(self) -> SystemStatus:
        """The status, at most about a second old."""
        now = time.monotonic()
        watched, self._asked = self._watched(now), now
        if not watched:
            self._looked.set()
            await self._gathered_since(now)
        return SystemStatus(
            at=utc_now(),
            uptime_s=round(time.monotonic() - self._began, 1),
            rates=self._rates(),
            agents=self._agents,
            errors=self._errors,
            decisions=self._actions,
            cards=self._cards,
            connections=self._connections(),
            away=tuple(sorted(self._down)),
        )

    def _watched(self, now: float) -> bool:
        return now - self._asked < ASKED_S

    async def _pause(self) -> None:
        """Short while somebody looks or a part is away; else until somebody looks, or long."""
        short = self._down or self._watched(time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._every_s if short else self._idle_s):
                await self._looked.wait()
        self._looked.clear()

    async def _gathered_since(self, then: float) -> None:
        """Wait for a gathering that began after this, but not for a part that hangs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S), self._gathered:
                await self._gathered.wait_for(lambda: self._whole >= then)

    async def _gather(self) -> None:
        down: dict[str, str] = {}
        began = time.monotonic()
        asked = self._watched(began)
        await asyncio.gather(
            _attempt("kafka", partial(self._count, asked), down),
            _attempt("redis", self._ping_redis, down),
            _attempt("database", partial(self._read, asked), down),
        )
        self._down = down
        if asked:
            self._whole = began
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
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW_S:
            self._samples.popleft()

    def _records(self, *topics: str) -> int:
        return sum(end for (topic, _), end in self._ends.items() if topic in topics)

    def _rates(self) -> dict[str, float]:
        if len(self._samples) < 2:
            return dict.fromkeys(SERIES, 0.0)
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return {name: round(max(0, last[name] - first[name]) / (ended - began), 1) for name in SERIES}


async def _attempt(part: str, work: Callable[[], Awaitable[object]], down: dict[str, str]) -> None:
    try:
        async with asyncio.timeout(_STEP_S):
            await work()
    except (MillraceError, *UNREACHABLE) as error:
        down[part] = str(error) if isinstance(error, ServiceUnavailable) else "it does not answer"
