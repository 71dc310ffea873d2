"""Uvicorn's protocols with what they lack: a deadline and a bound for the head and body of a request, and a way to cut.

Uvicorn holds a half-sent request open for ever, reads headers without a limit, and closes a connection politely, which
never ends when the client has stopped reading.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.ndjson import RENEW
from gateway.sockets import ABORT

HEAD_BYTES = 64 * 1024
CLOSING_S = 5.0


class GuardedHttp(HttpToolsProtocol):
    """HTTP/1.1, each request whole within `request_s` of its first byte (or of the connection's begin)."""

    request_s = 20.0
    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself narrows it
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort, RENEW: self._renew_deadline}  # type: ignore[dict-item]  # an extension may hold anything
        self._start_deadline()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_deadline()
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._stop_deadline()
        super().handle_websocket_upgrade()

    def _start_deadline(self) -> None:
        self._stop_deadline()
        self._deadline = self.loop.call_later(self.request_s, self.transport.abort)

    def _renew_deadline(self) -> None:
        """The request comes along, and may take its time: for those that are read bit by bit."""
        if self._deadline is not None:
            self._start_deadline()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def guarded_http(request_s: float) -> type[GuardedHttp]:
    """`GuardedHttp` with a deadline of one's own."""
    return type("GuardedHttp", (GuardedHttp,), {"request_s": request_s})


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """A websocket whose end is the end, also when the client does not read."""

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope.setdefault("extensions", {})
        extensions[ABORT] = self.transport.abort
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(CLOSING_S, self.transport.abort)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True  # refused by a response: uvicorn would log that as the application's error

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(CLOSING_S, self.transport.abort)
