"""The live channel: what a user is told the moment it is known, and the way to tell it.

Between the decision worker, which publishes here, and the gateway, which serves websockets and SSE from `app.live_log`.
The messages are the wire format of `WS /v1/live`; clients (simulator, page) decode with the same definitions.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from app.decisions import Action, Decision, Figure
from app.errors import ServiceUnavailable
from app.events import Kind
from app.live_log import UNREACHABLE, Cursor, Line, LiveLog, connect
from app.predictions import Detail, Prediction, Stage

M = TypeVar("M", bound="LiveMessage")

BATCH = 250
"""Messages per script call: Redis serves nobody else meanwhile (measured: 250 take 4.6 ms)."""


class LiveMessage(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every live message carries.

    Attributes:
        id: the cursor to resume from (`last_id`, `Last-Event-ID`); absent on messages inside a snapshot.
        at: wall clock, when it came about.
    """

    id: str | UnsetType = UNSET
    at: datetime


class SubjectMessage(LiveMessage, frozen=True, kw_only=True):
    """A message about one ride or upload, asked for by the event `event_id`."""

    subject_id: str
    kind: Kind
    user_id: str
    event_id: str


class LivePrediction(SubjectMessage, frozen=True, kw_only=True, tag="prediction"):
    """One model's figure, as soon as there is one."""

    model: str
    version: str
    value: float
    unit: str
    stage: Stage = "initial"
    detail: Detail | None = None


class LiveDecision(SubjectMessage, frozen=True, kw_only=True, tag="decision"):
    """The first decision on an event."""

    decision_id: str
    action: Action
    event_at: datetime
    reasons: tuple[str, ...]
    predictions: tuple[Figure, ...]
    missing: tuple[str, ...] = ()
    revision: int = 0


class LiveRevision(LiveDecision, frozen=True, kw_only=True, tag="revision"):
    """A later decision on the same event, after a late prediction; replaces the one before."""


class Connected(LiveMessage, frozen=True, kw_only=True, tag="connected"):
    """The first message of a connection, and again whenever it had to start over.

    Attributes:
        recovered: true: what follows continues right after `last_id`. False: it does not (no `last_id` was given, or
            the history no longer reaches back to it): start from `snapshot`.
        snapshot: the user's latest decisions, newest first; empty when recovered.
    """

    user_id: str
    recovered: bool
    snapshot: tuple[LiveDecision | LiveRevision, ...] = ()


class Heartbeat(LiveMessage, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing happened for a while, and the connection is well."""


class Reconnect(LiveMessage, frozen=True, kw_only=True, tag="reconnect"):
    """The server is about to close: connect again after `retry_after_ms`, with `last_id`."""

    reason: str
    retry_after_ms: int


AnyLive = LivePrediction | LiveDecision | LiveRevision | Connected | Heartbeat | Reconnect


class LiveUpdate(NamedTuple):
    """Something to tell a user; `again` marks a second delivery, which is dropped when the first one is still there."""

    user_id: str
    message: Prediction | Decision
    again: bool = False


def live_message(message: Prediction | Decision) -> LivePrediction | LiveDecision:
    """How a prediction or decision looks on the live channel (without the `id`, which the log gives it)."""
    if isinstance(message, Prediction):
        return _take(LivePrediction, message)
    return _take(LiveRevision if message.revision else LiveDecision, message)


def with_id(cursor: Cursor, body: bytes) -> bytes:
    """The message as it goes over the wire: its JSON with the cursor as `id`."""
    return b'{"id":"%b",%b' % (str(cursor).encode(), body[1:])


class LivePublisher:
    """Tells users what is known; one per worker.

    Args:
        cap: messages kept per user for those who reconnect.
        ttl: how long they are kept once the user's last one came.
        patience: how long an unreachable Redis is tried again before the messages are given up.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        cap: int = 1000,
        ttl: timedelta = timedelta(hours=1),
        patience: timedelta = timedelta(seconds=2),
    ) -> None:
        self._redis = connect(redis_url, timeout_s=min(2.0, patience.total_seconds()))
        self._log = LiveLog(self._redis, cap=cap, ttl=ttl)
        self._patience_s = patience.total_seconds()
        self._gave_up = False

    async def publish(self, updates: Sequence[LiveUpdate]) -> None:
        """Tell all of them, in order. Raises `ServiceUnavailable` ("redis") when the patience is spent.

        After that the fate of each is unknown. Whether they are then published again (`again=True`) or left out, every
        reader that resumes from before the failure is told to start from a snapshot.
        """
        lines = [_line(update) for update in updates]
        for start in range(0, len(lines), BATCH):
            await self._append(lines[start : start + BATCH])

    async def _append(self, lines: Sequence[Line]) -> None:
        deadline = asyncio.get_running_loop().time() + self._patience_s
        wait_s = 0.02
        while True:
            try:
                await self._log.append(lines, renew=self._gave_up)
            except UNREACHABLE as error:
                if asyncio.get_running_loop().time() + wait_s > deadline:
                    self._gave_up = True
                    raise ServiceUnavailable("redis", f"live updates were not published: {error}") from error
                lines = [line._replace(again=True) for line in lines]  # the first try may have got through
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311  # jitter, not a secret
                wait_s = min(wait_s * 2, 0.5)
            else:
                self._gave_up = False
                return

    async def close(self) -> None:
        await self._redis.aclose()


def _line(update: LiveUpdate) -> Line:
    message = update.message
    if isinstance(message, Prediction):
        identity = f"{message.event_id}.{message.model}.{message.version}"
    else:
        identity = message.decision_id
    return Line(update.user_id, identity, msgspec.json.encode(live_message(message)), update.again)


def _take(target: type[M], message: Prediction | Decision) -> M:
    """The fields of `target` that the message has, too."""
    names = (name for name in target.__struct_fields__ if name != "id")
    return target(**{name: getattr(message, name) for name in names})
