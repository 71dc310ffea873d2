"""Against a real websocket server that misbehaves as gateways do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from random import Random
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from app.live import AnyLive, Connected, Heartbeat, LiveDecision, LivePrediction, Reconnect
from simulator.client import LiveClient, Lost
from simulator.errors import AccessRefused, NoGateway

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def decision(n: int, *, live: bool = True) -> LiveDecision:
    return LiveDecision(
        id=f"c-{n}" if live else msgspec.UNSET,
        at=NOW,
        subject_id=f"r{n}",
        kind="ride",
        user_id="u",
        event_id=f"e{n}",
        decision_id=f"e{n}.0",
        action="quote",
        event_at=NOW,
        reasons=("because",),
        predictions=(),
    )


def connected(*, recovered: bool, snapshot: tuple[LiveDecision, ...] = ()) -> Connected:
    return Connected(id="c-0", at=NOW, user_id="u", recovered=recovered, snapshot=snapshot)


class Server:
    """Plays one script per connection, then ends it the way the script's last word says; notes how it was called."""

    def __init__(self, *scripts: list[AnyLive | str]) -> None:
        self.scripts, self.calls = list(scripts), list[dict[str, list[str]]]()

    async def handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.calls.append(parse_qs(urlsplit(socket.request.path).query))
        for word in self.scripts.pop(0) if self.scripts else []:
            if word == "drop":
                socket.transport.abort()
                return
            if word == "expire":
                await socket.close(4401, "the token has expired")
                return
            await socket.send(word if isinstance(word, str) else msgspec.json.encode(word).decode())
        await socket.wait_closed()


@asynccontextmanager
async def running(
    server: Server, refuse: Callable[[ServerConnection, Request], Response | None] | None = None
) -> AsyncIterator[str]:
    async with serve(server.handle, "127.0.0.1", 0, process_request=refuse) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def take(client: LiveClient, count: int) -> list[AnyLive]:
    taken: list[AnyLive] = []
    async with asyncio.timeout(20), aclosing(client.messages()) as messages:
        async for message in messages:
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def test_a_dropped_connection_is_made_again_and_resumes() -> None:
    lost: list[Lost] = []
    server = Server(
        [connected(recovered=False), decision(1), decision(2), "drop"],
        [connected(recovered=True), decision(2), decision(3)],
    )
    async with running(server) as url:
        client = LiveClient(url, lambda: "T", lost=lost.append, rng=Random(1))
        taken = await take(client, 5)
    assert [m.event_id for m in taken if isinstance(m, LiveDecision)] == ["e1", "e2", "e3"]
    assert server.calls[0] == {"token": ["T"]}
    assert server.calls[1] == {"token": ["T"], "last_id": ["c-2"]}
    assert (client.reconnects, client.repeats, client.unrecovered, client.last_id) == (1, 1, 0, "c-3")
    assert len(lost) == 1


async def test_what_a_snapshot_holds_and_was_missed_follows_oldest_first() -> None:
    snapshot = tuple(decision(n, live=False) for n in (3, 2, 1))
    server = Server([connected(recovered=False), decision(1), "drop"], [connected(recovered=False, snapshot=snapshot)])
    async with running(server) as url:
        client = LiveClient(url, lambda: "T", rng=Random(1))
        taken = await take(client, 5)
    assert [m.event_id for m in taken if isinstance(m, LiveDecision)] == ["e1", "e2", "e3"]
    assert (client.unrecovered, client.repeats) == (1, 0)


async def test_a_server_that_says_reconnect_is_left_alone_as_long_as_it_asks() -> None:
    lost: list[Lost] = []
    farewell = Reconnect(at=NOW, reason="restarting", retry_after_ms=300)
    server = Server(
        [connected(recovered=False), farewell, "drop"], [connected(recovered=True), Heartbeat(id="c-9", at=NOW)]
    )
    async with running(server) as url:
        await take(LiveClient(url, lambda: "T", lost=lost.append), 4)
    assert lost[0].retry_s >= 0.3


async def test_a_token_that_ends_is_replaced_by_a_new_one() -> None:
    tokens = iter(("old", "new"))
    server = Server([connected(recovered=False), "expire"], [connected(recovered=True), decision(1)])
    async with running(server) as url:
        await take(LiveClient(url, lambda: next(tokens), everyone=True), 3)
    assert [(call["token"], call["all"]) for call in server.calls] == [(["old"], ["1"]), (["new"], ["1"])]


async def test_who_hears_everybody_resumes_from_what_was_their_own() -> None:
    """A cursor is a place in one user's log: that of somebody else's message stands nowhere in ours."""
    theirs = msgspec.structs.replace(decision(2), user_id="somebody", id="theirs-7")
    server = Server([connected(recovered=False), decision(1), theirs, "drop"], [connected(recovered=True)])
    async with running(server) as url:
        await take(LiveClient(url, lambda: "T", everyone=True, rng=Random(1)), 4)
    assert server.calls[1]["last_id"] == ["c-1"]


async def test_messages_of_a_later_version_are_passed_over() -> None:
    figure = LivePrediction(
        id="c-1",
        at=NOW,
        subject_id="r",
        kind="ride",
        user_id="u",
        event_id="e",
        model="eta",
        version="1",
        value=3.0,
        unit="min",
    )
    server = Server([connected(recovered=False), '{"type":"weather","id":"c-1"}', figure, figure, decision(1)])
    async with running(server) as url:
        taken = await take(LiveClient(url, lambda: "T"), 3)
    assert [type(message) for message in taken] == [Connected, LivePrediction, LiveDecision]


async def test_a_refused_token_ends_it_and_a_busy_gateway_does_not() -> None:
    answers = iter((HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN))
    lost: list[Lost] = []
    refusals = lambda connection, _: connection.respond(next(answers), "no")  # noqa: E731
    async with running(Server(), refusals) as url:
        with pytest.raises(AccessRefused, match="HTTP 403"):
            await take(LiveClient(url, lambda: "T", lost=lost.append, rng=Random(1)), 1)
    assert [end.reason for end in lost] == ["HTTP 503", "HTTP 429"]


async def test_nobody_there_is_said_once_the_patience_is_spent() -> None:
    async with running(Server()) as url:
        pass  # the port is free again
    with pytest.raises(NoGateway, match=url):
        await take(LiveClient(url, lambda: "T", patience_s=0.3), 1)
