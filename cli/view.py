"""The live terminal view of `millrace demo`: the websocket and `GET /v1/status` in, `cli.panels` out."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import psutil
from rich.console import Console
from rich.live import Live

from app.live import AnyLive, Connected, LiveDecision
from app.modes.consuming.lifecycle import together
from cli.panels import line, screen
from cli.picture import LIVE, Picture, Process, Status
from simulator.badges import Token
from simulator.client import LiveClient, Lost

DECISIONS_KEPT = 60
HELD_KEPT = 20
FRAME_S = 0.25
"""Four frames a second can be read; more only cost the processor the models need."""
STATUS_S = 2.0
LINE_S = 5.0

Processes = Callable[[], Sequence[Process]]


@dataclass
class View:
    """What is known so far.

    Attributes:
        url: the address to open.
        connection: `LIVE`, or why it is not.
    """

    url: str
    processes: Processes
    clock: Callable[[], float] = time.monotonic
    connection: str = "connecting"
    status: Status = field(default_factory=Status)
    decisions: deque[LiveDecision] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    held: deque[LiveDecision] = field(default_factory=lambda: deque(maxlen=HELD_KEPT))
    _began: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.clock()

    def message(self, message: AnyLive) -> None:
        """Something came over the websocket."""
        if isinstance(message, Connected):
            self.connection = LIVE
        elif isinstance(message, LiveDecision):
            seen = self.held if message.kind == "transaction" else self.decisions
            seen.appendleft(message)

    def lost(self, lost: Lost) -> None:
        self.connection = f"{lost.reason}; again in {lost.retry_s:.1f} s"

    def picture(self) -> Picture:
        up_s = self.clock() - self._began
        return Picture(
            self.url, self.connection, up_s, self.status, tuple(self.decisions), self.processes(), tuple(self.held)
        )


async def show(
    url: str,
    token: Token,
    processes: Processes = lambda: (),
    console: Console | None = None,
    line_s: float = LINE_S,
) -> None:
    """Show what goes on until cancelled: a full-screen view, or a line every few seconds when not on a terminal.

    Args:
        url: the gateway's, `http://host:port`.
        token: gives an operator's token (`Badges.operator`).
        processes: who runs; `supervised(directory)` reads it from the supervisor's state file.
        console: where to; standard output by default.
        line_s: between two lines, when not on a terminal.

    Raises `AccessRefused` when the gateway does not take the token.
    """
    view, console = View(url, processes), console or Console()
    painting = _paint(view, console) if console.is_terminal else _print_lines(view, console, line_s)
    await together(_listen(view, token), _poll(view, token), painting)


def supervised(directory: Path) -> Processes:
    """The processes of the supervisor that keeps its logs and `processes.json` in `directory`."""

    def processes() -> list[Process]:
        try:
            rows = json.loads((directory / "processes.json").read_bytes())["processes"]
        except (OSError, ValueError, KeyError):
            return []  # not started yet, or stopping
        return [_process(**row) for row in rows]

    return processes


def _process(name: str, pid: int, restarts: int, last_exit: str) -> Process:
    try:
        rss_mb = psutil.Process(pid).memory_info().rss / 1e6 if pid else None
    except psutil.Error:
        rss_mb = None
    return Process(name, "running" if rss_mb is not None else last_exit or "starting", restarts, rss_mb)


async def _listen(view: View, token: Token) -> None:
    client = LiveClient(view.url, token, everyone=True, lost=view.lost)
    async with aclosing(client.messages()) as messages:
        async for message in messages:
            view.message(message)


async def _poll(view: View, token: Token) -> None:
    async with httpx.AsyncClient(base_url=view.url, timeout=STATUS_S) as http:
        while True:
            try:
                answer = await http.get("/v1/status", headers={"Authorization": f"Bearer {token()}"})
                view.status = msgspec.json.decode(answer.raise_for_status().content, type=Status)
            except httpx.HTTPError:
                pass  # the figures stay as they were; the websocket tells how the connection is
            await asyncio.sleep(STATUS_S)


async def _paint(view: View, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(view.picture(), console.width, console.height), refresh=True)
            await asyncio.sleep(FRAME_S)


async def _print_lines(view: View, console: Console, every_s: float) -> None:
    console.print(f"Millrace: open {view.url}", highlight=False, soft_wrap=True)
    while True:
        await asyncio.sleep(every_s)
        console.print(line(view.picture()), highlight=False, soft_wrap=True)
