"""The push: what has been written down goes to the topic `decisions` and to Redis, and is marked as pushed.

Between `decision.desk`, which hands over parcels in the order they were written down, and `app.bus` and `app.live`.
Redis is a cache: while it is away, decisions go on to the topic and wait in the store for it to come back.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app import codec
from app.bus import Delivered, Outgoing, Producer, deliver
from app.errors import ServiceUnavailable
from app.live import LiveUpdate
from app.predictions import Prediction
from app.sql.journal import Unpushed
from app.sql.ledger import DecisionKey, Made, Mark
from app.telemetry import DECISIONS as DECIDED
from app.telemetry import MISSING
from app.topics import DECISIONS

BACKLOG = 64
"""Parcels that may wait: with Kafka slow, the desk waits, its inputs wait, and memory does not grow."""

PAGE = 250
"""Decisions told at once when Redis is back."""

RETURN_S = 1.0
"""How often a Redis that is away is tried again."""


class Publisher(Protocol):
    """The live channel, as `app.live.LivePublisher` is."""

    async def publish(self, updates: Sequence[LiveUpdate]) -> None: ...


class Outbox(Protocol):
    """Where decisions wait for the live channel, as `decision.desk.Desk` keeps them."""

    async def unpublished(self, limit: int) -> Sequence[Unpushed]:
        """The oldest decisions on the topic that the live channel may not have had."""
        ...

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Write down at once how far these have been pushed."""
        ...


@dataclass
class Parcel:
    """What a step of the desk has to tell, in order; true marks what may have been told before."""

    figures: Sequence[tuple[Prediction, bool]] = ()
    decisions: Sequence[Made] = ()
    again: bool = False


class Announcer:
    """Tells users through Redis; what it could not tell while Redis was away it makes up for afterwards."""

    def __init__(self, publisher: Publisher, outbox: Outbox, return_s: float = RETURN_S) -> None:
        self._publisher, self._outbox, self._return_s = publisher, outbox, return_s
        self._behind = asyncio.Event()
        self._left_out = False

    @property
    def behind(self) -> bool:
        """Whether decisions wait in the outbox for Redis."""
        return self._behind.is_set()

    async def tell(self, updates: Sequence[LiveUpdate]) -> bool:
        """Publish now; false when Redis is away, or still has earlier decisions to get first.

        Figures that are left out are not made up for: they are in the decision, and in the store.
        """
        if not self._behind.is_set():
            try:
                await self._publisher.publish(updates)
            except ServiceUnavailable:
                self._behind.set()
            else:
                return True
        self._left_out = True
        return False

    def catch_up(self) -> None:
        """Let `run` look into the outbox, once more if it is just doing so; until it is empty nothing is told directly."""
        self._left_out = True
        self._behind.set()

    async def run(self) -> None:
        """Make up for what was left out, whenever there is something; until cancelled."""
        while True:
            await self._behind.wait()
            self._left_out = False
            waiting = await self._outbox.unpublished(PAGE)
            if waiting:
                await self._make_up(waiting)
            elif not self._left_out:  # nothing was awaited since the outbox was seen empty, so nothing slipped by
                self._behind.clear()

    async def _make_up(self, waiting: Sequence[Unpushed]) -> None:
        updates = [LiveUpdate(each.decision.user_id, each.decision, again=True) for each in waiting]
        try:
            await self._publisher.publish(updates)
        except ServiceUnavailable:
            await asyncio.sleep(self._return_s * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
        else:
            await self._outbox.mark([each.published() for each in waiting])


@dataclass
class Push:
    """Takes parcels in order; several that wait go out together.

    Attributes:
        marked: told how far decisions have got; to be written down with the next step.
    """

    producer: Producer
    announcer: Announcer
    marked: Callable[[Sequence[Mark]], None]
    _parcels: asyncio.Queue[Parcel] = field(default_factory=lambda: asyncio.Queue(BACKLOG))
    _taken: int = 0
    _pushed: int = 0
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def put(self, parcel: Parcel) -> None:
        """Hand over; waits while too much is waiting already."""
        self._taken += 1
        await self._parcels.put(parcel)

    async def drained(self) -> None:
        """Wait until all that was handed over so far is pushed; what comes meanwhile is not waited for."""
        so_far = self._taken
        async with self._moved:
            await self._moved.wait_for(lambda: self._pushed >= so_far)

    async def run(self) -> None:
        """Push until cancelled. Raises `DeliveryFailed` when Kafka does not take a decision, however often it is sent."""
        while True:
            parcels = [await self._parcels.get()]
            while not self._parcels.empty():
                parcels.append(self._parcels.get_nowait())
            await self._push(parcels)
            async with self._moved:
                self._pushed += len(parcels)
                self._moved.notify_all()

    async def _push(self, parcels: Sequence[Parcel]) -> None:
        telling = self.announcer.tell([update for parcel in parcels for update in _updates(parcel)])
        decisions = [made for parcel in parcels for made in parcel.decisions]
        if not decisions:
            await telling
            return
        # At once, users first: all of it is written down, so neither rests on the other.
        delivering = asyncio.create_task(deliver(self.producer, [_record(made) for made in decisions]))
        try:
            published = await telling
            delivered = await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
        _measure(decisions)
        self.marked([_mark(made, where, published) for made, where in zip(decisions, delivered, strict=True)])
        if not published:  # until now the outbox could be seen empty: what the topic does not have is not in it
            self.announcer.catch_up()


def _measure(decisions: Sequence[Made]) -> None:
    for made in decisions:
        DECIDED.labels(made.decision.kind, made.decision.action).inc()
        for model in made.decision.missing:
            MISSING.labels(model).inc()


def _record(made: Made) -> Outgoing:
    decision = made.decision
    headers = codec.context(decision, made.traceparent)
    return Outgoing(DECISIONS.name, decision.user_id.encode(), codec.encode(decision), headers)


def _updates(parcel: Parcel) -> list[LiveUpdate]:
    return [
        *(LiveUpdate(prediction.user_id, prediction, again) for prediction, again in parcel.figures),
        *(LiveUpdate(made.decision.user_id, made.decision, parcel.again) for made in parcel.decisions),
    ]


def _mark(made: Made, where: Delivered, published: bool) -> Mark:
    return Mark(DecisionKey.of(made.decision), where.partition, where.offset, published)
