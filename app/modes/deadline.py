"""Runs the CPU-bound calls of an agent, one at a time, in a thread that is left behind when a call does not return.

Between the loop and the model: Python cannot end a thread, so a call that hangs is given up, not stopped.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Hung(Exception):
    """A call did not return by its deadline; its thread goes on, and what it holds must not be used again."""


class Worker:
    """One thread for the calls of one agent; a new one after each that hangs.

    A model need not be thread-safe: the calls never overlap, but for one that hangs. The thread is a daemon, so that a
    call that never returns does not keep the process from ending; `concurrent.futures` would wait for it.

    Attributes:
        hangs: how many threads were left behind.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name, self._timeout_s = name, timeout_s
        self._turn = asyncio.Lock()
        self._calls = self._start()
        self.hangs = 0

    async def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. Raises `Hung` when it does neither in time."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[T] = loop.create_future()
            self._calls.put((function, loop, answer))
            try:
                return await asyncio.wait_for(answer, self._timeout_s)
            except TimeoutError:
                if answer.done() and not answer.cancelled():
                    raise  # the function's own
                self.hangs += 1
                log.error(
                    "%s: a call has not returned within %.1f s; its thread is left behind", self._name, self._timeout_s
                )
                self.close()
                self._calls = self._start()
                raise Hung(f"no answer within {self._timeout_s:g} s") from None

    def close(self) -> None:
        """Let the thread end once it is idle."""
        self._calls.put(None)

    def _start(self) -> "queue.SimpleQueue[Any]":
        calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(calls,), name=self._name, daemon=True).start()
        return calls


def _work(calls: "queue.SimpleQueue[Any]") -> None:
    while (call := calls.get()) is not None:
        function, loop, answer = call
        try:
            result, error = function(), None
        except BaseException as raised:
            result, error = None, raised
        try:
            loop.call_soon_threadsafe(_settle, answer, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _settle(answer: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
