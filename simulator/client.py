"""The websocket client of the live channel: reconnects, resumes where it was, gives each message once.

Used by `millrace watch`, the simulator's report, the benchmarks and the chaos tests. The messages are those of `app.live`.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterator
from random import Random
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from app.live import AnyLive, Connected, LiveDecision, LivePrediction, Reconnect, SubjectMessage
from simulator.backoff import wait_s
from simulator.badges import Token
from simulator.errors import AccessRefused, NoGateway

REMEMBERED = 200_000
"""Identities kept to drop what comes twice: far more than a reconnect can repeat (the log keeps 1,000 per user)."""

OPEN_TIMEOUT_S = 10.0
PING_S = 20.0
"""A peer that answers no ping for so long is gone, though its connection may look open."""

MOST_BYTES = 16 * 2**20
"""A snapshot of 50 decisions with their tracks may be large; a message never is."""

UNAUTHENTICATED = frozenset({401, 403})
"""HTTP statuses that mean: this token will not do. (A token that ends meanwhile closes with 4401: come with a new one.)"""

_decoder = msgspec.json.Decoder(AnyLive)


class Lost(NamedTuple):
    """A connection that ended, or was not made.

    Attributes:
        reason: in a sentence.
        retry_s: the next try comes after so many seconds.
    """

    reason: str
    retry_s: float


class LiveClient:
    """An async iterator over the live messages of a user, or of everybody for an operator.

    It ends with `AccessRefused` when the token is refused and with `NoGateway` when no connection was to be had for
    `patience_s`; else it goes on until it is closed. `Connected` messages come through, too: one with
    `recovered` false says that the history no longer reaches back, and what its snapshot holds and we have not seen follows it.

    Args:
        url: the gateway's, `http://host:port`.
        token: asked anew for each connection.
        everyone: watch all users (operator tokens only).
        last_id: resume after this message.
        lost: told of each connection that ended.

    Attributes:
        connected: whether it ever heard the gateway.
        last_id: of the latest message about our own user, whose log it is a place in; another client goes on from there.
        reconnects: connections made after the first.
        repeats: messages that came a second time and were dropped.
        unrecovered: how often the history was gone when we came back.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        everyone: bool = False,
        last_id: str | None = None,
        lost: Callable[[Lost], None] = lambda _: None,
        patience_s: float = float("inf"),
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connected = False
        self.last_id, self.reconnects, self.repeats, self.unrecovered = last_id, 0, 0, 0
        self._url, self._token, self._everyone = url.rstrip("/"), token, everyone
        self._lost, self._patience_s, self._rng, self._clock = lost, patience_s, rng or Random(), clock
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._user_id = ""

    def __aiter__(self) -> AsyncIterator[AnyLive]:
        return self.messages()

    async def messages(self) -> AsyncGenerator[AnyLive, None]:
        """The messages; close the generator (`contextlib.aclosing`) to close the connection at once."""
        attempt, alive = 0, self._clock()
        while True:
            reason, retry_s = "the connection was closed", 0.0
            try:
                async with connect(
                    self._address(),
                    compression=None,  # short messages: deflate costs more than it saves
                    open_timeout=OPEN_TIMEOUT_S,
                    ping_interval=PING_S,
                    max_size=MOST_BYTES,
                    max_queue=1024,
                ) as socket:
                    self.reconnects += self.connected
                    async for message in self._received(socket):
                        self.connected, attempt, alive = True, 0, self._clock()
                        if isinstance(message, Reconnect):
                            reason, retry_s = message.reason, message.retry_after_ms / 1000
                        yield message
            except (InvalidHandshake, ConnectionClosed, OSError, TimeoutError) as error:
                reason = self._reason(error, reason)
            retry_s = max(retry_s, wait_s(attempt, self._rng))
            if self._clock() + retry_s - alive > self._patience_s:
                raise NoGateway(self._url, reason)
            self._lost(Lost(reason, retry_s))
            attempt += 1
            await asyncio.sleep(retry_s)

    async def _received(self, socket: ClientConnection) -> AsyncIterator[AnyLive]:
        """What a connection brings and was not seen before."""
        resumed = self.last_id is not None
        async for frame in socket:
            try:
                message = _decoder.decode(frame)
            except msgspec.ValidationError:
                continue  # a message type of a later version: not for us
            self._note(message)
            if self._is_new(message):
                yield message
            if isinstance(message, Connected) and not message.recovered:
                self.unrecovered += resumed
                for missed in self._snapshot(message):
                    yield missed

    def _note(self, message: AnyLive) -> None:
        """Where to resume: with `everyone`, others' messages come, too, and stand in logs of their own."""
        if isinstance(message, Connected):
            self._user_id = message.user_id
        ours = not isinstance(message, SubjectMessage) or message.user_id == self._user_id
        if ours and message.id is not UNSET:
            self.last_id = message.id

    def _snapshot(self, connected: Connected) -> Iterator[LiveDecision]:
        """The decisions of a snapshot that never came through the channel, oldest first."""
        held = (decision for decision in reversed(connected.snapshot) if _identity(decision) not in self._seen)
        return (decision for decision in held if self._is_new(decision))

    def _is_new(self, message: AnyLive) -> bool:
        """Whether it was not given out before; remembers it."""
        identity = _identity(message)
        if identity is None:
            return True
        if identity in self._seen:
            self.repeats += 1
            return False
        self._seen[identity] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _address(self) -> str:
        query = {"token": self._token()}
        if self._everyone:
            query["all"] = "1"
        if self.last_id:
            query["last_id"] = self.last_id
        return f"ws{self._url.removeprefix('http')}/v1/live?{urlencode(query)}"

    def _reason(self, error: Exception, announced: str) -> str:
        """Why a connection ended; raises `AccessRefused` when another try would end the same way."""
        if isinstance(error, InvalidStatus):
            reason = f"HTTP {error.response.status_code}"
            if error.response.status_code in UNAUTHENTICATED:
                raise AccessRefused(self._url, reason) from error
            return reason
        if isinstance(error, ConnectionClosed) and error.rcvd is not None:
            return error.rcvd.reason or announced
        return str(error) or type(error).__name__


def _identity(message: AnyLive) -> Hashable | None:
    """What makes a message the same one when it comes again."""
    if isinstance(message, LiveDecision):
        return message.decision_id
    if isinstance(message, LivePrediction):
        return message.event_id, message.model, message.version
    return None
