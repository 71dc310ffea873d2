"""A closed-loop HTTP load generator that costs little: raw keep-alive connections, requests built beforehand, a process of its own.

`python -m benchmarks.load` prints one JSON object. Each connection sends its next request when the last is answered, so the
figures say what so many callers who wait get; the pace is the server's.
"""

import argparse
import asyncio
import json
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import urlsplit

import uvloop

CONNECT_S = 10.0
ANSWER_S = 60.0


@dataclass(frozen=True)
class Load:
    """What came of some requests: milliseconds; statuses by number, 0 where the connection broke."""

    p50: float
    p99: float
    max: float
    per_second: float
    statuses: dict[int, int]


class Caller(asyncio.Protocol):
    """One connection: sends a request, and the next when the answer to it is whole."""

    def __init__(self, request: bytes, left: list[int], latencies: "array[float]", statuses: Counter[int]) -> None:
        self._request, self._left, self._latencies, self._statuses = request, left, latencies, statuses
        self._read, self._began = b"", 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes
        self._send()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._latencies.append((time.perf_counter() - self._began) * 1000)
        self._statuses[int(head[9:12])] += 1
        self._read = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - what matters is that it broke
        if not self.done.done():
            self._statuses[0] += 1
            self.done.set_result(None)

    def _send(self) -> None:
        if self._left[0] <= 0:
            if not self.done.done():
                self.done.set_result(None)
            self._transport.close()
            return
        self._left[0] -= 1
        self._began = time.perf_counter()
        self._transport.write(self._request)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


async def drive(url: str, body: bytes, token: str, requests: int, connections: int, deadline_ms: int) -> Load:
    """So many requests over so many connections."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nDeadline-Ms: {deadline_ms}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    left, latencies, statuses = [requests], array("d"), Counter[int]()
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    callers = []
    for _ in range(connections):
        _, caller = await asyncio.wait_for(
            loop.create_connection(
                lambda: Caller(head.encode() + body, left, latencies, statuses), parts.hostname or "", parts.port or 80
            ),
            CONNECT_S,
        )
        callers.append(caller.done)
    await asyncio.wait_for(asyncio.gather(*callers), ANSWER_S)
    return summary(latencies, statuses, time.perf_counter() - began)


def summary(latencies: "array[float]", statuses: Counter[int], seconds: float) -> Load:
    ordered = sorted(latencies) or [float("nan")]
    return Load(
        p50=ordered[len(ordered) // 2],
        p99=ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        max=ordered[-1],
        per_second=statuses[200] / seconds,
        statuses=dict(statuses),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--token", default="")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--deadline-ms", type=int, default=2000)
    chosen = parser.parse_args()
    body = sys.stdin.buffer.read()
    load = uvloop.run(drive(chosen.url, body, chosen.token, chosen.requests, chosen.connections, chosen.deadline_ms))
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
