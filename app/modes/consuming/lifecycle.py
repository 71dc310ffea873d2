"""How a worker process lives and ends: signals, exit codes, and what is set once for speed.

Used by `app.modes.stream`, `decision.serving` and `gateway.main`; a supervisor restarts whatever exits.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from threadpoolctl import threadpool_limits

EXIT_STUCK = 75
"""A partition has a lag and makes no progress (EX_TEMPFAIL of sysexits.h: trying again may help)."""

EXIT_HUNG = 70
"""Too many calls of a model did not return; what they hold can only be freed by ending the process (EX_SOFTWARE)."""


class Leave(Exception):
    """The worker is to end, in order, with this exit code."""

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(reason)


def settle() -> None:
    """Once everything is loaded."""
    threadpool_limits(1)  # a micro-batch is too small to share out, and the agents share the cores
    gc.collect()
    gc.freeze()  # per-record objects otherwise cost up to 40 % in collections (measured)
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(0.0005)  # a native predict holds a core beside the loop (measured)


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until one ends or this is cancelled; then cancel and await the others. Raises what failed first."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def until_stopped(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until SIGTERM or SIGINT, or until one ends; each is cancelled and may finish what it has in hand.

    Raises what failed first; a `Leave` becomes the exit of the process with its code.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread: its owner stops us
            loop.add_signal_handler(number, stop.set)

    async def stopped() -> None:
        await stop.wait()

    try:
        await together(stopped(), *parts)
    except Leave as leave:
        sys.exit(leave.code)
