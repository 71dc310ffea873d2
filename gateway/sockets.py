"""The live channel's two doors: `WS /v1/live` and `GET /v1/live` (server-sent events). One conversation serves both.

How a connection ends is part of the interface (`Ending`); what is sent over it comes from `gateway.follow`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from enum import Enum
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.errors import MillraceError
from app.tokens import LIVE_ALL, LIVE_READ, Identity
from gateway import problems
from gateway.auth import Door, require
from gateway.follow import Frame, Live, farewell
from gateway.problems import Refused

ABORT = "millrace.abort"
"""The ASGI extension by which `gateway.guard` lets us cut off a client that takes nothing."""


class Ending(Enum):
    """Why the gateway closes a connection: websocket code, and what the client should know."""

    RESTARTING = (1012, "the gateway is restarting: connect again with last_id")
    UNAVAILABLE = (1013, "a part of the system does not answer: connect again with last_id")
    CHATTY = (1008, "this channel only sends")
    EXPIRED = (4401, "the token has expired: connect again with a new one and last_id")


class Wire(Protocol):
    """A connection, seen from the conversation."""

    async def send(self, frame: Frame) -> None: ...
    async def listen(self, limit: int) -> Ending | None:
        """Returns when the client has left (`None`) or has said more than `limit` messages."""
        ...

    async def close(self, ending: Ending) -> None: ...


class Left(Exception):
    """The client is gone."""


class WebSocketWire:
    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, frame: Frame) -> None:
        try:
            await self._socket.send_text(frame.data.decode())
        except (WebSocketDisconnect, RuntimeError) as error:
            raise Left from error

    async def listen(self, limit: int) -> Ending | None:
        for _ in range(limit):
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return None
        return Ending.CHATTY

    async def close(self, ending: Ending) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(*ending.value)


class EventStreamWire:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send

    async def start(self) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._body(b"retry: 1000\n\n")

    async def send(self, frame: Frame) -> None:
        identity = f"id: {frame.id}\n" if frame.id else ""
        await self._body(f"{identity}event: {frame.type}\n".encode() + b"data: " + frame.data + b"\n\n")

    async def listen(self, limit: int) -> Ending | None:
        while (await self._receive())["type"] != "http.disconnect":
            limit -= 1
            if not limit:
                return Ending.CHATTY
        return None

    async def close(self, ending: Ending) -> None:
        await self._body(f": {ending.value[1]}\n\n".encode(), more=False)

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


class LiveDoor:
    """Admits a client and holds the conversation.

    Args:
        origins: web origins besides our own from which a browser may open the websocket.
        clock: POSIX seconds, for the token's end.
    """

    def __init__(
        self, live: Live, door: Door, origins: frozenset[str] = frozenset(), clock: Callable[[], float] = time.time
    ) -> None:
        self._live, self._door, self._origins, self._clock = live, door, origins, clock

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_websocket_route("/v1/live", self.websocket)
        router.add_route("/v1/live", self.server_sent_events)
        return router

    async def server_sent_events(self, _: Request) -> Response:
        return _EventStream(self.event_stream)

    async def websocket(self, socket: WebSocket) -> None:
        """`WS /v1/live`. What is refused is refused as an HTTP response, before the handshake."""
        opened = False
        try:
            self._check_origin(socket.headers)
            identity, everyone = self._admit(socket.headers, socket.query_params)
            last_id = socket.query_params.get("last_id")
            with self._live.place(identity.user_id):
                async with aclosing(self._live.follow(identity, last_id, everyone=everyone)) as frames:
                    first = await anext(frames)
                    await socket.accept()
                    opened = True
                    await self._converse(WebSocketWire(socket), socket.scope, identity, first, frames)
        except MillraceError as error:
            if not opened:
                await socket.send_denial_response(problems.of(error))

    async def event_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/live`."""
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        wire = EventStreamWire(receive, send)
        opened = False
        try:
            identity, everyone = self._admit(headers, query)
            last_id = headers.get("last-event-id") or query.get("last_id")
            with self._live.place(identity.user_id):
                async with aclosing(self._live.follow(identity, last_id, everyone=everyone)) as frames:
                    first = await anext(frames)
                    await wire.start()
                    opened = True
                    await self._converse(wire, scope, identity, first, frames)
        except MillraceError as error:
            if not opened:
                await problems.of(error)(scope, receive, send)

    def _admit(self, headers: Headers, query: QueryParams) -> tuple[Identity, bool]:
        identity = self._door.identify(headers, query.get("token"))
        everyone = query.get("all") in ("1", "true")
        require(identity, LIVE_ALL if everyone else LIVE_READ)
        return identity, everyone

    def _check_origin(self, headers: Headers) -> None:
        """A page of another site may open a websocket to us with what it finds in the browser; it must not."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            raise Refused(HTTPStatus.FORBIDDEN, "this origin may not open the live channel", "Origin")

    async def _converse(
        self, wire: Wire, scope: Scope, identity: Identity, first: Frame, frames: AsyncIterator[Frame]
    ) -> None:
        """Send until one side ends it; a client that takes nothing is cut off."""
        limits = self._live.limits
        sending = asyncio.create_task(_send_all(wire, first, frames, limits.stall_s))
        listening = asyncio.create_task(wire.listen(limits.inbound))
        draining = asyncio.create_task(self._live.draining.wait())
        tasks: set[asyncio.Task[object]] = {sending, listening, draining}
        try:
            left_s = max(0.0, identity.expires_at - self._clock())
            await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            ended = {task for task in tasks if task.done()}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if sending in ended and isinstance(sending.exception(), TimeoutError):
            return _abort(scope)
        await self._end(wire, scope, _ending(sending, listening, draining, ended))
        return None

    async def _end(self, wire: Wire, scope: Scope, ending: Ending | None) -> None:
        if ending is None:
            return
        try:
            async with asyncio.timeout(2):
                if ending in (Ending.RESTARTING, Ending.UNAVAILABLE):
                    await wire.send(farewell(ending.value[1], retry_after_ms=500))
                await wire.close(ending)
        except TimeoutError:
            _abort(scope)
        except Left:
            return


class _EventStream(Response):
    """A response that is a conversation."""

    def __init__(self, talk: ASGIApp) -> None:
        super().__init__()
        self._talk = talk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._talk(scope, receive, send)


def _ending(
    sending: "asyncio.Task[None]",
    listening: "asyncio.Task[Ending | None]",
    draining: "asyncio.Task[bool]",
    ended: "set[asyncio.Task[object]]",
) -> Ending | None:
    """Why the conversation is over; `None` when the client left. Raises what nobody expected."""
    if sending in ended:
        error = sending.exception()
        if error is None or isinstance(error, Left | OSError):
            return None
        if isinstance(error, MillraceError):
            return Ending.UNAVAILABLE
        raise error
    if listening in ended:
        return listening.result()
    return Ending.RESTARTING if draining in ended else Ending.EXPIRED


async def _send_all(wire: Wire, first: Frame, frames: AsyncIterator[Frame], stall_s: float) -> None:
    async with asyncio.timeout(stall_s):
        await wire.send(first)
    async for frame in frames:
        async with asyncio.timeout(stall_s):
            await wire.send(frame)


def _abort(scope: Scope) -> None:
    """Closing politely would wait for the client to read what is in the buffers."""
    abort = scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort()
