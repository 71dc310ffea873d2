"""Runs the CPU-bound calls of an agent, one at a time, and gives up what does not return in time.

Between the loop and the model. A call that takes long has a thread, which is left behind when it hangs: Python cannot
end a thread. A call that takes a millisecond is made `at_once`, in the event loop's own thread, because handing it over
and back costs more than the call (docs/decisions/0004 has what was measured, and of which build).
"""

import asyncio
import atexit
import logging
import math
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

_RINGS_EVERY_S = 0.1
"""An overdue call is interrupted at most this much later."""


class Hung(Exception):
    """A call did not return by its deadline; its thread goes on, and what it holds must not be used again."""


class Overdue(Exception):
    """A call that was to be made at once took too long, and was interrupted."""


class _Alarm:
    """The process's alarm, which rings on and on while calls are made at once, and interrupts one that is overdue.

    To set and to clear it for every call would be two system calls, and at every system call a busy machine may hand
    the core to somebody else: that was a millisecond of a ride's way, where the calls themselves are microseconds.
    """

    def __init__(self) -> None:
        self._due, self._rings, self._needed = math.inf, False, False

    def guard(self, function: Callable[[], T], budget_s: float) -> T:
        self._needed = True
        if not self._rings:
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, _RINGS_EVERY_S, _RINGS_EVERY_S)
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # past its handler, the signal ends the process
            self._rings = True
        self._due = time.monotonic() + budget_s
        try:
            return function()
        finally:
            self._due = math.inf

    def _ring(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the handler's signature
        if time.monotonic() >= self._due:
            self._due = math.inf
            raise Overdue("not done in time")
        if not self._needed and self._due == math.inf:  # nobody has called since it last rang
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._rings = False
        self._needed = False


_alarm = _Alarm()


def at_once(function: Callable[[], T], budget_s: float) -> T:
    """What `function` returns or raises, called here and now. Raises `Overdue` when it has not ended in time.

    An alarm interrupts it, and so anything but a single call into C that never looks up (the watchdog ends a process that
    sits in one). Only for the main thread, as signals are; one call at a time.
    """
    return _alarm.guard(function, budget_s)


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

    @property
    def busy(self) -> bool:
        return self._turn.locked()

    async def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. Raises `Hung` when it does neither in time."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[T] = loop.create_future()
            self._calls.put((function, loop, answer))
            try:
                async with asyncio.timeout(self._timeout_s):  # up to Python 3.11 `wait_for` may lose a cancellation
                    return await answer
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
