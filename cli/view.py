"""The live terminal view of `millrace demo`: the websocket and `GET /v1/status` in, `cli.panels` out."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import psutil
from rich.console import Console
from rich.live import Live

from app.live import AnyLive, Connected, LiveDecision, LivePrediction
from cli.panels import LIVE, Picture, Process, Rates, Status, line, screen
from simulator.badges import Token
from simulator.client import LiveClient, Lost

DECISIONS_KEPT = 60
FRAME_S = 0.25
"""Four frames a second can be read; more only cost the processor the models need."""
STATUS_S = 2.0
LINE_S = 5.0
WINDOW_S = 5.0
"""Rates are over so many seconds: steady enough to read, fresh enough to see a stall."""

Processes = Callable[[], Sequence[Process]]


@dataclass
class Meter:
    """How much of something happens per second, from running totals."""

    _points: deque[tuple[float, float]] = field(default_factory=deque)

    def note(self, now: float, total: float) -> None:
        """The total at `now`; one that is smaller than before begins anew."""
        if self._points and total < self._points[-1][1]:
            self._points.clear()
        self._points.append((now, total))
        while len(self._points) > 2 and now - self._points[1][0] >= WINDOW_S:
            self._points.popleft()

    def per_s(self) -> float | None:
        if len(self._points) < 2:
            return None
        (first_at, first), (last_at, last) = self._points[0], self._points[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else None


@dataclass
class View:
    """What is known so far.

    Attributes:
        url: the address to open.
        predictions, decided: live messages that came, in all.
    """

    url: str
    processes: Processes
    clock: Callable[[], float] = time.monotonic
    connection: str = "connecting"
    status: Status = field(default_factory=Status)
    decisions: deque[LiveDecision] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    predictions: int = 0
    decided: int = 0
    _meters: tuple[Meter, Meter, Meter] = field(default_factory=lambda: (Meter(), Meter(), Meter()))
    _began: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.clock()

    def message(self, message: AnyLive) -> None:
        """Something came over the websocket."""
        if isinstance(message, Connected):
            self.connection = LIVE
        elif isinstance(message, LivePrediction):
            self.predictions += 1
        elif isinstance(message, LiveDecision):
            self.decided += 1
            self.decisions.appendleft(message)

    def lost(self, lost: Lost) -> None:
        self.connection = f"{lost.reason}; again in {lost.retry_s:.1f} s"

    def heard(self, status: Status) -> None:
        """The gateway told its status."""
        self.status = status
        if (events := status.counters.get("events")) is not None:
            self._meters[0].note(self.clock(), events)

    def picture(self) -> Picture:
        now = self.clock()
        events, predictions, decisions = self._meters
        predictions.note(now, self.predictions)
        decisions.note(now, self.decided)
        rates = Rates(events.per_s(), predictions.per_s(), decisions.per_s())
        return Picture(
            self.url, self.connection, now - self._began, rates, self.status, tuple(self.decisions), self.processes()
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
    await _together(_listen(view, token), _poll(view, token), painting)


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


async def _together(*parts: Coroutine[object, object, None]) -> None:
    """Run all; the first to fail ends the others, and its error is raised bare."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


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
                view.heard(msgspec.json.decode(answer.raise_for_status().content, type=Status))
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
