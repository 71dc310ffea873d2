"""A worker of a replay: takes lanes, one after the other, and puts each through the same functions as live.

While one slice is scored (a native call, as a rule) the next is read and decoded, and the last one is kept, in threads. Several workers share a run
through its book.
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

_LOOK_S = 0.5
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
        memory = memory_of(ready.agent, self.private, f"lane-{lane.lane}", lane.state)
        scoring = Scoring(ready, self.source, lane.span, memory)
        if isinstance(self.target, TopicTarget):
            self.target.processors[ready.agent.name] = scoring.processor
        await self.target.open(lane)
        keeping: asyncio.Task[None] | None = None
        try:
            async with aclosing(scoring.pieces(lane.position)) as pieces:
                async for piece in pieces:
                    await asyncio.sleep(self.pace.wait_s(len(piece.records)))
                    answers, state = await scoring.score(piece)
                    if keeping is not None:
                        await keeping
                    keeping = asyncio.create_task(self._keep(lane, answers, piece.position, state))
            if keeping is not None:
                await keeping
        finally:
            scoring.close()
            if keeping is not None and not keeping.done():
                await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self, lane: Lane, answers: Answers, position: int, state: bytes | None) -> None:
        """The state compressed: with every slice it goes into the database, and most of it is zeros."""
        packed = None if state is None else await asyncio.to_thread(compressed, state)
        await self.target.keep(lane, answers, position, packed)
