"""Scores a batch so that a row that cannot be scored costs only itself.

Between the processing of a batch and the agent's two functions. The whole batch is one call; only when that raises or
hangs is it taken apart, into sixteenths of sixteenths, until what fails is single rows.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from sqlalchemy.exc import OperationalError

from app.agent import Agent, Features, Model, Scores, Shared
from app.errors import ServiceUnavailable
from app.events import Event
from app.modes.scoring.deadline import Hung, Overdue, Worker, at_once
from app.predictions import Detail

log = logging.getLogger(__name__)

HANGS_PER_BATCH = 16
"""Rows that hang one at a time cost `score_timeout` each; after this many, what is still suspect fails unscored."""

_WAYS = 16
"""Parts of a batch that failed: one bad row in 4,096 is found with 4 calls that fail (12 when halving), and a call
that hangs costs seconds where one that succeeds costs less than a millisecond."""

HEALS = (ServiceUnavailable, OperationalError, ConnectionError)
"""What a shared state raises when its database is away: the rows are not to blame, and later it may be back."""

_TRIES = 5

AT_ONCE_S = 0.005
"""What is expected to take no longer is not worth a thread; heartbeats and other partitions wait meanwhile."""

_MEASURED_OF = 8
"""One call in eight is measured while calls take less than half of `AT_ONCE_S`."""

_BUDGET_S = 0.5
"""When it takes so long after all, it is interrupted and done again in a thread; a member's session lasts seconds."""

Rows = tuple[int, int]


class Memory(Protocol):
    """What an agent's features may rest on besides the batch."""

    def extract(self, events: Sequence[Event]) -> Features:
        """The features of the next events; moves a state forward."""
        ...

    def keep(self, events: Sequence[Event]) -> None:
        """These events are part of the state from now on."""
        ...

    def undo(self) -> None:
        """Back to what was kept, after an `extract` that failed half-way."""
        ...


class Plain:
    """The memory of an agent that has none, or shares one that looks after itself."""

    def __init__(self, agent: Agent, shared: Shared | None = None) -> None:
        self._agent, self._shared = agent, shared

    def extract(self, events: Sequence[Event]) -> Features:
        return self._agent.extract(events, self._shared)

    def keep(self, events: Sequence[Event]) -> None:
        """Nothing is remembered."""

    def undo(self) -> None:
        """Nothing to take back: what a shared state was told twice it knows once."""

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()


class Scorer:
    """An agent and its model, ready to score.

    Attributes:
        hangs: threads left behind so far; a process with many of them should be replaced.
    """

    def __init__(self, agent: Agent, model: Model, timeout_s: float) -> None:
        self._agent, self._model = agent, model
        self._worker = Worker(f"score-{agent.name}", timeout_s)
        self._pace = _Pace()

    @property
    def hangs(self) -> int:
        return self._worker.hangs

    def close(self) -> None:
        self._worker.close()

    async def score(self, events: Sequence[Event], memory: Memory) -> Scores:
        """One value or one problem per event. Raises only what may heal and has not, after some tries."""

        def whole() -> Scores:
            if not self._pace.wanted(len(events)):
                return self._agent.evaluate(self._model, events, memory.extract(events))
            started = time.thread_time()
            scores = self._agent.evaluate(self._model, events, memory.extract(events))
            self._pace.took(time.thread_time() - started, len(events))
            return scores

        for attempt in range(_TRIES):
            try:
                scores = await self._call(whole, len(events))
            except HEALS as error:
                await self._worker.call(memory.undo)
                if attempt + 1 == _TRIES:
                    raise
                log.warning("%s: %s; trying again", self._agent.name, error)
                await asyncio.sleep(2**attempt * random.uniform(0.1, 0.2))  # noqa: S311
            except Overdue:
                self._pace.took(_BUDGET_S, len(events))  # so the next try has a thread
                await self._worker.call(memory.undo)
            except Exception as error:  # the agent's code may raise anything; it is told apart row by row
                log.warning("%s: a batch of %d failed (%s); looking for the rows", self._agent.name, len(events), error)
                await self._worker.call(memory.undo)
                apart = _Apart(self._agent, self._model, self._worker, events, memory)
                return await apart.scores(error)
            else:
                memory.keep(events)
                return scores
        raise AssertionError("the last try returns or raises")

    async def _call(self, whole: Callable[[], Scores], rows: int) -> Scores:
        """At once if that is quick; a shared state asks a database, which never is."""
        quick = self._agent.shared is None and not self._worker.busy and self._pace.expected_s(rows) <= AT_ONCE_S
        if quick and threading.current_thread() is threading.main_thread():
            return at_once(whole, _BUDGET_S)
        return await self._worker.call(whole)


class _Pace:
    """How long a call is expected to take: as the slowest of about as many rows lately, forgotten bit by bit.

    In seconds of processor time: on a busy machine every call now and then waits for a core. To ask for that time is a
    system call, at which such a machine hands the core on; so what is known to be quick is measured now and then.
    """

    def __init__(self) -> None:
        self._slowest_s: dict[int, float] = {}
        self._unmeasured = 0

    def expected_s(self, rows: int) -> float:
        """For a size not met before: twice the next smaller size's for each doubling, which is more than it will be."""
        size = rows.bit_length()
        known = max((met for met in self._slowest_s if met <= size), default=None)
        return float("inf") if known is None else self._slowest_s[known] * 2.0 ** (size - known)

    def wanted(self, rows: int) -> bool:
        """Whether the next call should be measured."""
        self._unmeasured = (self._unmeasured + 1) % _MEASURED_OF
        return (
            self._unmeasured == 0 or rows.bit_length() not in self._slowest_s or self.expected_s(rows) > AT_ONCE_S / 2
        )

    def took(self, seconds: float, rows: int) -> None:
        size = rows.bit_length()
        self._slowest_s[size] = max(seconds, 0.9 * self._slowest_s.get(size, 0.0))


class _Apart:
    """One batch that failed as a whole, taken apart: first its features, in order, then the model."""

    def __init__(self, agent: Agent, model: Model, worker: Worker, events: Sequence[Event], memory: Memory) -> None:
        self._agent, self._model, self._worker, self._events, self._memory = agent, model, worker, events, memory
        self._hangs_before = worker.hangs
        self._values = np.full(len(events), np.nan)
        self._details: list[Detail | None] = [None] * len(events)
        self._problems: dict[int, str] = {}
        self._entered: list[int | None] = [None] * len(events)

    async def scores(self, error: Exception) -> Scores:
        """The batch failed with `error`; a single row is not tried again."""
        extracted: list[tuple[Rows, Features]] = []
        for part in self._parts((0, len(self._events)), error):
            await self._extract(part, extracted)
        for rows, features in extracted:
            await self._evaluate(rows, features)
        return Scores(self._values, self._details, self._problems, self._entered)

    async def _extract(self, rows: Rows, extracted: list[tuple[Rows, Features]]) -> None:
        events = self._events[slice(*rows)]
        try:
            features = await self._worker.call(lambda: self._memory.extract(events))
        except HEALS:
            raise
        except Exception as error:
            await self._worker.call(self._memory.undo)
            for part in self._parts(rows, error):
                await self._extract(part, extracted)
        else:
            self._memory.keep(events)
            extracted.append((rows, features))

    async def _evaluate(self, rows: Rows, features: Features) -> None:
        """Evaluate these rows; `features` are theirs alone."""
        first, events = rows[0], self._events[slice(*rows)]
        try:
            scores = await self._worker.call(lambda: self._agent.evaluate(self._model, events, features))
        except Exception as error:
            for part in self._parts(rows, error):
                await self._evaluate(part, features[part[0] - first : part[1] - first])
        else:
            self._values[slice(*rows)] = scores.values
            self._details[slice(*rows)] = scores.details or [None] * len(events)
            self._entered[slice(*rows)] = scores.entered or [None] * len(events)
            self._problems.update((first + row, problem) for row, problem in scores.problems.items())

    def _parts(self, rows: Rows, error: Exception) -> Iterator[Rows]:
        """Smaller parts to try; none, and a problem for each row, when there is nothing left to try."""
        first, end = rows
        hopeless = isinstance(error, Hung) and self._worker.hangs - self._hangs_before >= HANGS_PER_BATCH
        if end - first == 1 or hopeless:
            self._problems.update(dict.fromkeys(range(first, end), _sentence(error)))
            return
        step = -(-(end - first) // _WAYS)
        for start in range(first, end, step):
            yield start, min(start + step, end)


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, Hung) else f"{type(error).__name__}: {error}"
