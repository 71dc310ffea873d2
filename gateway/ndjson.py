"""Newline-delimited JSON, line by line as it comes (https://github.com/ndjson/ndjson-spec): of a body without end a line is held.

`gateway.transactions` reads with it. A line that is too long is passed over without being kept.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request

from gateway.problems import Refused
from gateway.requests import BODY_S

MEDIA_TYPES = ("application/x-ndjson", "application/ndjson")
MAX_LINE = 16 * 1024
"""Bytes; a transaction has some 300, and 1,200 with the longest ids."""

STREAM_S = 600.0
"""How long one request may go on: then the client begins another."""

RENEW = "millrace.renew"
"""The extension of the scope by which a request that comes along gets more time, see `gateway.guard`."""


class Line(NamedTuple):
    """A line that is not blank.

    Attributes:
        number: from 1, blank ones counted.
        text: `None` for one longer than `MAX_LINE`.
    """

    number: int
    text: bytes | None


class Lines:
    r"""Cuts chunks into lines.

    Example:
        >>> lines = Lines()
        >>> lines.feed(b'{"a": 1}\n\n{"b"'), lines.feed(b": 2}"), lines.end()
        ([Line(number=1, text=b'{"a": 1}')], [], [Line(number=3, text=b'{"b": 2}')])
    """

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line, self._number = max_line, 0
        self._rest: bytes | None = b""

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that are whole now."""
        first, *others = chunk.split(b"\n")
        whole = [self._rest if self._rest is None else self._rest + first, *others]
        rest = whole.pop()
        self._rest = None if rest is None or len(rest) > self._max_line else rest
        return [line for text in whole if (line := self._line(text)) is not None]

    def end(self) -> list[Line]:
        """The last line, which need not end."""
        rest, self._rest = self._rest, b""
        line = self._line(rest)
        return [] if line is None else [line]

    def _line(self, text: bytes | None) -> Line | None:
        self._number += 1
        if text is None or len(text) > self._max_line:
            return Line(self._number, None)
        stripped = text.strip()
        return Line(self._number, stripped) if stripped else None


async def lines(request: Request) -> AsyncIterator[list[Line]]:
    """The lines of a body as they come. Raises `Refused`: 408 when no more comes, 400 when the client leaves."""
    cut, renew, loop = Lines(), _renewal(request), asyncio.get_running_loop()
    chunks, deadline = request.stream(), loop.time() + STREAM_S
    while True:
        try:
            async with asyncio.timeout_at(min(loop.time() + BODY_S, deadline)):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time", Connection="close") from error
        except ClientDisconnect as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "the client left") from error
        if chunk is None:
            break
        renew()
        if found := cut.feed(chunk):
            yield found
            renew()  # what was done about them took the server's time, not the client's
    if last := cut.end():
        yield last


def _renewal(request: Request) -> Callable[[], None]:
    found: Callable[[], None] = request.scope.get("extensions", {}).get(RENEW, _nothing)
    return found


def _nothing() -> None:
    """Nobody keeps the time of the request."""
