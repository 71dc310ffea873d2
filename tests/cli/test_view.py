"""The terminal view against a server that speaks the gateway's protocol, and what it makes of what it hears."""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import uvicorn
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from app.live import Connected, LiveDecision, LivePrediction
from cli.picture import Process
from cli.view import View, show, supervised
from simulator.client import Lost
from simulator.errors import AccessRefused

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONNECTED = Connected(id="0000000000000000-1-0", at=NOW, user_id="operator", recovered=False)
DECISION = LiveDecision(
    id="0000000000000000-1-2", at=NOW, subject_id="ride-77", kind="ride", user_id="u1", event_id="e1",
    decision_id="e1.0", action="quote", event_at=NOW, reasons=("within bounds",), predictions=(),
)  # fmt: skip
PREDICTION = LivePrediction(
    id="0000000000000000-1-1", at=NOW, subject_id="ride-77", kind="ride", user_id="u1", event_id="e1",
    model="eta", version="1", value=9.0, unit="min",
)  # fmt: skip


async def _live(socket: WebSocket) -> None:
    if socket.query_params["token"] != "good":
        await socket.send_denial_response(Response(status_code=401))
        return
    await socket.accept()
    for message in (CONNECTED, PREDICTION, DECISION):
        await socket.send_text(msgspec.json.encode(message).decode())
    await socket.receive()


async def _status(request: Request) -> JSONResponse:
    assert request.headers["Authorization"] == "Bearer good"
    agents = [{"name": "eta", "lag": 4, "members": 1, "group": "millrace.eta"}]
    return JSONResponse({"agents": agents, "errors": [], "rates": {"events": 12}, "decisions": {}, "uptime_s": 3})


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = Starlette(routes=[WebSocketRoute("/v1/live", _live), Route("/v1/status", _status)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


async def until(true: Callable[[], bool], deadline_s: float = 10) -> None:
    async with asyncio.timeout(deadline_s):
        while not true():  # noqa: ASYNC110  # what it waits for is text on a screen: nobody signals it
            await asyncio.sleep(0.01)


def screen_text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_on_a_terminal_it_shows_what_happens_and_ends_when_cancelled(url: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140, height=40)
    shown = asyncio.create_task(show(url, lambda: "good", lambda: [Process("decision", "running", 0, 90.0)], console))
    await until(lambda: all(word in screen_text(console) for word in ("ride-77", "within bounds", "decision", "eta")))
    shown.cancel()
    with pytest.raises(asyncio.CancelledError):
        await shown
    assert screen_text(console).endswith("\x1b[?25h\x1b[?1049l")  # cursor and screen are given back


async def test_elsewhere_it_prints_lines(url: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=140)
    shown = asyncio.create_task(show(url, lambda: "good", console=console, line_s=0.05))
    await until(lambda: "live · " in screen_text(console) and "events 12/s · lag 4" in screen_text(console))
    shown.cancel()
    await asyncio.gather(shown, return_exceptions=True)
    assert screen_text(console).startswith(f"Millrace: open {url}\n")
    assert "\x1b" not in screen_text(console)


async def test_a_refused_token_is_said_and_not_tried_for_ever(url: str) -> None:
    with pytest.raises(AccessRefused):
        await show(url, lambda: "bad", console=Console(file=io.StringIO(), force_terminal=False))


def test_a_lost_connection_is_told_until_it_is_back() -> None:
    view = View("http://x", lambda: ())
    view.message(CONNECTED)
    view.lost(Lost("the gateway is restarting", 0.5))
    assert view.picture().connection == "the gateway is restarting; again in 0.5 s"
    view.message(CONNECTED)
    assert view.picture().connection == "live"


def test_the_processes_of_the_supervisor(tmp_path: Path) -> None:
    processes = supervised(tmp_path)
    assert processes() == []
    rows = [
        {"name": "gateway", "pid": os.getpid(), "restarts": 1, "last_exit": "exit 1"},
        {"name": "spam", "pid": 0, "restarts": 2, "last_exit": "signal 9"},
        {"name": "eta", "pid": 0, "restarts": 0, "last_exit": ""},
    ]
    (tmp_path / "processes.json").write_text(json.dumps({"parent": 1, "processes": rows}))
    gateway, spam, eta = processes()
    assert (gateway.state, gateway.restarts) == ("running", 1)
    assert gateway.rss_mb is not None
    assert gateway.rss_mb > 1
    assert spam == Process("spam", "signal 9", 2, None)
    assert eta == Process("eta", "starting", 0, None)
