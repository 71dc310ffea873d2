"""The clerk: asks the journal on behalf of the books, patiently, and never keeps the event loop waiting for it.

A question goes to a thread of its own. What is small and asked of a file is done at once, in the loop: to hand it over and
back would be two waits for a core, and takes longer than the answer.
"""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from app.errors import ServiceUnavailable
from app.sql.journal import Journal

J = TypeVar("J", bound=Journal)
T = TypeVar("T")

TRIES, PAUSE_S = 6, 0.25
"""The database is asked again after 0.25, 0.5, 1, 2, 4 s (each up to doubled at random); then the worker gives up:
nothing of the batch is committed, and its supervisor starts another."""


class Clerk(Generic[J]):
    """One per worker."""

    def __init__(self, journal: J, pause_s: float = PAUSE_S) -> None:
        self._journal, self._pause_s = journal, pause_s
        self._hasty = journal.hasty()
        self._thread = ThreadPoolExecutor(1, "journal")

    async def ask(self, work: Callable[[J], T], *, small: bool = False) -> T:
        """What `work` returns, asked again while the database does not answer. Raises `ServiceUnavailable` at last.

        What is `small` takes some milliseconds at most, so that the loop may do it; while another writer has the file, the
        thread waits for it.
        """
        if small and self._hasty is not None:
            with suppress(ServiceUnavailable):
                return work(self._hasty)
        for attempt in range(TRIES - 1):
            try:
                return await self._in_thread(work)
            except ServiceUnavailable:
                await asyncio.sleep(self._pause_s * 2**attempt * random.uniform(1, 2))  # noqa: S311 - jitter, not a secret
        return await self._in_thread(work)

    def close(self) -> None:
        """Let the thread end; what is asked already is answered."""
        self._thread.shutdown(wait=False)
        if self._hasty is not None:
            self._hasty.close()

    async def _in_thread(self, work: Callable[[J], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._journal)
