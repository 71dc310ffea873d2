"""A worker of a replay: takes lanes, one after the other, and puts each through the same functions as live.

While one slice is scored (a native call, as a rule) the next is read and decoded, and the last one is kept, in threads. Several
workers share a run through its book.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from app.agent import find
from app.errors import ConfigurationError
from app.modes.replay.book import Book, Cut, Lane, LaneLost
from app.modes.replay.manners import Pace
from app.modes.replay.plan import Plan
from app.modes.replay.rows import Answers
from app.modes.replay.score import Scoring, memory_of
from app.modes.replay.sources import Source
from app.modes.replay.targets import Target, TopicTarget
from app.modes.scoring.state import compressed
from app.modes.stream import Ready

_LOOK_S = 0.1
"""How often a worker with nothing to do looks whether a lane has become free."""


async def cut(plan: Plan, source: Source) -> list[Cut]:
    """The lanes of a plan. The ends are fixed here. Raises `ConfigurationError` where an agent cannot be replayed so."""
    cuts = []
    for chosen in plan.chosen:
        agent = find(chosen.agent)
        spans = await source.spans(agent)
        cuts += [Cut(chosen, agent.unit, span) for span in spans]
    return cuts


@dataclass
class Worker:
    """Does lanes of a run until none is left.

    Attributes:
        ready: the agents by name, of the versions of the plan.
        private: where an agent with a shared state keeps its own for this run, a directory.
        pace: how fast.
    """

    book: Book
    source: Source
    ready: Mapping[str, Ready]
    target: Target
    private: Path
    pace: Pace

    async def run(self) -> None:
        """Returns when the whole run is done, by whomever. Raises `ServiceUnavailable`, and what an agent cannot go on with."""
        while not (await asyncio.to_thread(self.book.standing)).finished:
            lane = await asyncio.to_thread(self.book.claim)
            if lane is None:
                await asyncio.sleep(_LOOK_S)
                continue
            try:
                await self._replay(lane)
            except LaneLost:
                continue
            except BaseException:
                await asyncio.to_thread(self.book.release, lane)
                raise
        await asyncio.to_thread(self.book.finish)

    async def _replay(self, lane: Lane) -> None:
        ready = self.ready[lane.chosen.agent]
        if ready.agent.shared is not None and lane.position and not self.private.exists():
            raise ConfigurationError(
                f"run {lane.run} was begun elsewhere, where the memory of {ready.agent.name} is: continue it there, "
                "or start anew"
            )
        name = f"lane-{lane.lane}"
        memory = memory_of(ready.agent, self.private, name, lane.state, remembers=lane.span.state)
        scoring = Scoring(ready, self.source, lane.span, memory)
        if isinstance(self.target, TopicTarget):
            self.target.processors[ready.agent.name] = scoring.processor
        await self.target.open(lane)
        entering = Entering(self.target, lane.position)
        every = self.source.every(lane.span)
        try:
            async with aclosing(scoring.pieces(lane.position)) as pieces:
                async for piece in pieces:
                    await asyncio.sleep(self.pace.wait_s(len(piece.records)))
                    answers = await scoring.score(piece)
                    due = piece.position - entering.position >= every or piece.position >= lane.span.size
                    state = await scoring.state() if due else None
                    await entering.take(answers, piece.position if due else None, state)
            await entering.finish()
        finally:
            scoring.close()
            await entering.close()


class Entering:
    """Hands a target what came out, slice by slice, while the next is scored.

    Attributes:
        position: what was handed over to be entered lies before it.
    """

    def __init__(self, target: Target, position: int) -> None:
        self._target, self.position = target, position
        self._task: asyncio.Task[None] | None = None

    async def take(self, answers: Answers, position: int | None, state: bytes | None) -> None:
        """Once the slice before is dealt with; with a position, all that was taken so far is entered. Raises as a target does."""
        await self.finish()
        self.position = self.position if position is None else position
        self._task = asyncio.create_task(self._take(answers, position, state))

    async def finish(self) -> None:
        """Wait for what is under way. Raises as a target does."""
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Wait for what is under way, however it ends."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, answers: Answers, position: int | None, state: bytes | None) -> None:
        await self._target.take(answers)
        if position is not None:
            # Compressed: most of a state is zeros.
            packed = None if state is None else await asyncio.to_thread(compressed, state)
            await self._target.enter(position, packed)
