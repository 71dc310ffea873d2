"""How far a replay has come, while it is worked on: a bar on a terminal, elsewhere a line now and then."""

import asyncio
import os
import time
from collections.abc import Coroutine

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.errors import ConfigurationError
from app.modes.replay.book import Book

_LOOK_S, _LINE_S = 0.5, 5.0


async def shown(working: Coroutine[None, None, None], book: Book, parent: int | None, console: Console) -> None:
    """Await the work while showing how far all workers have come; a worker that helps `parent` shows nothing, and ends with it."""
    task = asyncio.create_task(working)
    watching = asyncio.create_task(_watch(book, parent, console))
    try:
        done, _ = await asyncio.wait({task, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching in done:
            watching.result()
        await task
    finally:
        for each in (task, watching):
            each.cancel()
        await asyncio.gather(task, watching, return_exceptions=True)


async def _watch(book: Book, parent: int | None, console: Console) -> None:
    if parent is not None:
        while os.getppid() == parent:  # noqa: ASYNC110 - nobody tells an orphan that it is one
            await asyncio.sleep(_LOOK_S)
        raise ConfigurationError("whoever started this worker has ended")
    await (_bar(book, console) if console.is_terminal else _lines(book, console))


async def _bar(book: Book, console: Console) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        first = await asyncio.to_thread(book.standing)
        task = progress.add_task(book.run, total=first.size, completed=first.passed, rate=0.0)
        began = time.monotonic()
        while True:
            now = await asyncio.to_thread(book.standing)
            rate = (now.passed - first.passed) / max(time.monotonic() - began, 0.001)
            progress.update(task, completed=now.passed, rate=rate)
            await asyncio.sleep(_LOOK_S)


async def _lines(book: Book, console: Console) -> None:
    first, began = await asyncio.to_thread(book.standing), time.monotonic()
    while True:
        await asyncio.sleep(_LINE_S)
        now = await asyncio.to_thread(book.standing)
        rate = (now.passed - first.passed) / (time.monotonic() - began)
        left = f"{(now.size - now.passed) / rate:.0f} s left" if rate else "nothing passed yet"
        line = f"{book.run}: {now.passed:,} of {now.size:,}, {rate:,.0f}/s, {left}, {now.workers} at work"
        console.print(line, highlight=False, soft_wrap=True)
