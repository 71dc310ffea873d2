"""Waits for decisions: the events are posted as any others, and what the live channel tells of them is listened for.

Between `gateway.predict` and the gateway's own `outbox`, `hub` and `reads`; so it works at any gateway. The hub tells the moment
something is known; where it missed something, or Redis is away, the store is asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import cache
from http import HTTPStatus

import msgspec
from msgspec import Struct

from app import agent
from app.decisions import Decision
from app.errors import InvalidMessage, MillraceError, ServiceUnavailable
from app.events import ContentUpdated, ContentUploaded, Event, RideRequested
from app.live import AnyLive, LiveDecision, LivePrediction
from gateway.hub import Hub, Subscription
from gateway.outbox import Outbox
from gateway.problems import Refused
from gateway.reads import Reads

Opening = RideRequested | ContentUploaded | ContentUpdated
"""What a decision can be waited for on."""

POLL_S = 0.1
"""How often the store is asked while the live channel is away."""

_live: msgspec.json.Decoder[AnyLive] = msgspec.json.Decoder(AnyLive)


class Figured(Struct, frozen=True, kw_only=True):
    """One model's figure, as it came."""

    model: str
    version: str
    value: float
    unit: str


class Verdict(Struct, frozen=True, kw_only=True):
    """What is known of one event by the deadline.

    Attributes:
        decision: null when there is none yet.
        predictions: the figures that have come, while there is no decision; afterwards they are in it.
        missing: models that have not answered, by the decision or by the deadline.
    """

    event_id: str
    subject_id: str
    decision: Decision | None
    predictions: tuple[Figured, ...]
    missing: tuple[str, ...]


Expected = Callable[[type[Event]], tuple[str, ...]]
"""The models that answer an event of this type; may take a moment."""


@cache
def answering(event: type[Event]) -> tuple[str, ...]:
    """Every agent that answers it; imports them all, the first time."""
    return tuple(name for name in agent.names() if event in agent.find(name).consumes)


class Verdicts:
    """Posts events and waits for the decisions on them."""

    def __init__(self, outbox: Outbox, hub: Hub, reads: Reads, expected: Expected) -> None:
        self._outbox, self._hub, self._reads, self._expected = outbox, hub, reads, expected

    async def on(self, user_id: str, events: Sequence[Event], trace: str | None, until: float) -> list[Verdict]:
        """What is decided on these events by `until`, of the event loop's clock.

        Raises `InvalidMessage` for an event that asks for no decision, and `ServiceUnavailable` or `TooManyEvents` when Kafka
        does not take them: nothing else, for once they are accepted the caller is told so.
        """
        opening = [event for event in events if isinstance(event, Opening)]
        if len(opening) < len(events):
            row = next(row for row, event in enumerate(events) if not isinstance(event, Opening))
            raise InvalidMessage("no decision is waited for on such an event", f"instances[{row}].type")
        kinds = {type(event) for event in opening}
        models = {kind: await asyncio.to_thread(self._expected, kind) for kind in kinds}
        waiting = _Waiting(opening)
        async with AsyncExitStack() as stack:
            subscription = await self._subscription(stack, user_id)
            await self._post(events, trace, until)
            try:
                async with asyncio.timeout_at(until):
                    await self._listen(user_id, waiting, subscription)
            except TimeoutError:
                await self._look(user_id, waiting)
        return [waiting.verdict(event, models[type(event)]) for event in opening]

    async def _post(self, events: Sequence[Event], trace: str | None, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._outbox.send(events, trace)
        except TimeoutError as error:
            detail = "Kafka has not acknowledged by the deadline; send the same again, with the same event_id"
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, detail) from error

    async def _subscription(self, stack: AsyncExitStack, user_id: str) -> Subscription | None:
        """The live channel of the user, from before the events are posted; `None` while it is away."""
        try:
            return await stack.enter_async_context(self._hub.subscribe(user_id))
        except ServiceUnavailable:
            return None

    async def _listen(self, user_id: str, waiting: "_Waiting", subscription: Subscription | None) -> None:
        """Returns when everything is decided."""
        while waiting.open:
            news = None
            if subscription is None:
                await asyncio.sleep(POLL_S)
            else:
                news = await subscription.take(POLL_S * 10)
                if news is None:
                    subscription.restart()
            if not news:  # silence, or something was missed
                await self._look(user_id, waiting)
            for each in news or ():
                waiting.hear(_live.decode(each.entry.body))

    async def _look(self, user_id: str, waiting: "_Waiting") -> None:
        """What the store knows of it; nothing, while it does not answer."""
        for event in list(waiting.open.values()):
            try:
                decided = await self._reads.decided(user_id, event.subject_id)
            except MillraceError:
                return
            if decided is not None:
                waiting.decide(decided.decision)


class _Waiting:
    """What has been heard of some events.

    Attributes:
        open: those without a decision, by id.
    """

    def __init__(self, events: Sequence[Opening]) -> None:
        self.open = {event.event_id: event for event in events}
        self._decisions: dict[str, Decision] = {}
        self._figures: dict[str, dict[str, Figured]] = {event.event_id: {} for event in events}

    def hear(self, message: AnyLive) -> None:
        if isinstance(message, LiveDecision):
            self.decide(Decision(**{name: getattr(message, name) for name in Decision.__struct_fields__}))
        elif isinstance(message, LivePrediction) and message.event_id in self._figures:
            figure = Figured(model=message.model, version=message.version, value=message.value, unit=message.unit)
            self._figures[message.event_id].setdefault(message.model, figure)

    def decide(self, decision: Decision) -> None:
        if self.open.pop(decision.event_id, None) is not None:
            self._decisions[decision.event_id] = decision

    def verdict(self, event: Opening, expected: Sequence[str]) -> Verdict:
        decision, figures = self._decisions.get(event.event_id), self._figures[event.event_id]
        return Verdict(
            event_id=event.event_id,
            subject_id=event.subject_id,
            decision=decision,
            predictions=() if decision else tuple(figures.values()),
            missing=decision.missing if decision else tuple(name for name in expected if name not in figures),
        )
