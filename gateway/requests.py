"""Reading a request: its body within bounds of size and time, its media type, its headers."""

import asyncio
import re
from http import HTTPStatus

from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request

from app.errors import InvalidMessage
from gateway.problems import Refused

MAX_BODY = 256 * 1024
"""Bytes; the largest valid upload (120,000 characters of text and description) fits even when all of it is 2-byte UTF-8."""
BODY_S = 15.0
"""A body of that size over a slow mobile line (200 kbit/s) takes 10 s."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The whole body, of at most `limit` bytes. Raises `Refused`: 413 as soon as it is larger, 408 when it does not come."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 16 and int(declared) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError as error:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time", Connection="close") from error
    except ClientDisconnect as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the client left") from error
    return b"".join(chunks)


def media_type(request: Request) -> str:
    """The media type without its parameters, in lower case. Raises `Refused` with 415 for a charset but UTF-8."""
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\";\s]+)", parameters)
    if charset and charset[1] not in ("utf-8", "utf8"):
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is UTF-8", "Content-Type")
    return kind.strip()


def need_json(request: Request) -> None:
    if media_type(request) != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json", "Content-Type")
    need_plain(request)


def need_plain(request: Request) -> None:
    """A compressed body could unpack to anything; nobody needs one here."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body uncompressed", "Content-Encoding")


def need_id(value: str, field: str) -> str:
    """An id from a path or header. Raises `InvalidMessage`."""
    if not _ID.match(value):
        raise InvalidMessage("an id has 1 to 64 letters, digits and _ . : -, beginning with a letter or digit", field)
    return value


def query(request: Request, *names: str) -> QueryParams:
    """The parameters of a call that takes these. Raises `InvalidMessage` for another, as for a body's unknown field.

    The live channel takes any: what stands in for `EventSource` in a browser adds some of its own.
    """
    for name in request.query_params:
        if name not in names:
            raise InvalidMessage(f"unknown parameter; there are: {', '.join(names)}", name if _ID.match(name) else "")
    return request.query_params


def idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    return None if key is None else need_id(key, "Idempotency-Key")


def traceparent(request: Request) -> str | None:
    """The client's W3C trace; a malformed one is ignored, as its specification asks (section 3.2.2.5)."""
    value = request.headers.get("traceparent", "")
    return value if _TRACEPARENT.match(value) else None


def _too_large(limit: int) -> Refused:
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body may have {limit} bytes")
