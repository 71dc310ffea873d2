"""Clients that send half of a request, or far too much of it."""

import asyncio

import pytest

from gateway.follow import Limits

TOKENLESS = b"POST /v1/rides HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def answer(port: int, *parts: bytes) -> bytes:
    """What the gateway says until it closes the connection, which it must."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.fixture
async def brief(serve):
    async with serve(limits=Limits(request_s=0.3)) as served:
        yield served


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"GE",),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",),
    ],
)
async def test_half_sent_headers_are_not_waited_for(brief, parts) -> None:
    await answer(brief.port, *parts)
    assert not brief.running.server_state.connections


async def test_half_a_body_is_not_waited_for(brief, namespace) -> None:
    head = TOKENLESS + f"Authorization: Bearer {brief.token(namespace)}\r\nContent-Length: 100\r\n\r\n".encode()
    await answer(brief.port, head + b'{"pickup"')
    assert not brief.running.server_state.connections


async def test_endless_headers_are_refused(served) -> None:
    said = await answer(
        served.port, b"GET / HTTP/1.1\r\nHost: x\r\n", *(b"X-More: " + b"a" * 8192 + b"\r\n" for _ in range(20))
    )
    assert b"200 OK" not in said
    assert said[:12] in (b"HTTP/1.1 400", b"")


@pytest.mark.parametrize(
    "request_line",
    [b"GET /\xff HTTP/1.1", b"GET http:// HTTP/1.1", b"\x16\x03\x01", b"GET  / HTTP/9.9", b"BREW / HTTP/1.1"],
)
async def test_what_is_no_http_is_answered_or_dropped(served, request_line: bytes) -> None:
    said = await answer(served.port, request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 500 " not in said


async def test_a_websocket_handshake_that_is_none(served) -> None:
    said = await answer(
        served.port, b"GET /v1/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 4")
