"""Keeps a claimed run ours while it is worked on, from a thread of its own: the work itself may take the processor for long."""

import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from app.errors import ServiceUnavailable
from app.sql.runs import Overtaken, Run, Runs

LONGEST = timedelta(hours=6)
"""A run that takes longer hangs: its lease is renewed no more, and another worker takes it over."""


class Lease:
    """Renews the lease of a run, as a context manager; `check` before each step that must not be done twice."""

    def __init__(self, runs: Runs, run: Run, longest: timedelta = LONGEST) -> None:
        self._runs, self._run = runs, run
        self._until = time.monotonic() + longest.total_seconds()
        self._reached = 0
        self._over, self._overtaken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease of {run.job}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=self._runs.lease.total_seconds())

    def check(self, reached: int) -> None:
        """Note how far the run has come. Raises `Overtaken` when it is ours no more."""
        self._reached = reached
        if self._overtaken.is_set():
            raise Overtaken(f"{self._run.job}: another worker took the run over")

    def _renew(self) -> None:
        pause_s = self._runs.lease.total_seconds() / 3
        while not self._over.wait(pause_s) and time.monotonic() < self._until:
            try:
                self._runs.beat(self._run, self._reached)
            except Overtaken:
                self._overtaken.set()
                return
            except ServiceUnavailable:
                continue  # the next one may get through; if none does, the lease ends, as it should
