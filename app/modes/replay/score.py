"""The records of a span to answers: the loop's own processing, with the memory of a replay.

Between the sources and whoever wants the answers: the worker, and the check of what was said live.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from app.agent import Agent, find
from app.codec import Record
from app.events import AnyEvent
from app.modes.process import Processor
from app.modes.replay.plan import Chosen, Span
from app.modes.replay.rows import Answers
from app.modes.replay.sources import Slice, Source
from app.modes.scoring import Memory, Plain, Scorer
from app.modes.state import Fold, compressed
from app.modes.stream import Ready
from app.registry import Registry

CALL_TIMEOUT = timedelta(seconds=60)
"""A call that takes so long is hanging. Live it is 5 s; a replay yields the processor to others, and may wait for it."""


def load(chosen: Chosen, registry: Registry) -> Ready:
    """An agent with this version of its model, or the version an alias stands for."""
    agent = find(chosen.agent)
    artifact = registry.load(agent.name, chosen.version)
    return Ready(agent, agent.load(artifact), artifact.version)


def memory_of(agent: Agent, private: Path, name: str, state: bytes | None = None) -> Memory:
    """What the agent remembers here: a fold from `state`, as `Scoring.score` gave it, or what its workers would share, in `private`.

    The live memory is not touched: events of the past would be entered into it as if they happened now.
    """
    if agent.state is not None:
        return Fold(agent, agent.state, None if state is None else zlib.decompress(state))
    if agent.shared is None:
        return Plain(agent)
    private.mkdir(parents=True, exist_ok=True)
    return Plain(agent, agent.shared(f"sqlite:///{(private / f'{name}.db').resolve()}"))


class Scoring:
    """The records of one span to answers, in calls of the agent's `max_batch`."""

    def __init__(self, ready: Ready, source: Source, span: Span, memory: Memory) -> None:
        self._agent, self._span, self._memory = ready.agent, span, memory
        self._scorer = Scorer(ready.agent, ready.model, CALL_TIMEOUT.total_seconds())
        agent, self._within = ready.agent, source.within
        self._inputs = {topic: number for number, topic in enumerate(span.topics)}
        self.processor = Processor(
            agent,
            ready.version,
            source.decoder(agent),
            self._scorer,
            arm="replay",
            sees=_sees(agent, self._within),
        )

    def close(self) -> None:
        self._scorer.close()

    async def score(self, records: Sequence[Record]) -> tuple[Answers, bytes | None]:
        """The answers, and the state behind them."""
        answers, memory = await self.answers(records), self._memory
        return answers, await asyncio.to_thread(_dumped, memory) if isinstance(memory, Fold) else None

    async def answers(self, records: Sequence[Record]) -> Answers:
        """The answers alone."""
        answers, size = Answers(self._agent, self._inputs), self._agent.max_batch
        for start in range(0, len(records), size):
            scored = await self.processor.score(records[start : start + size], self._memory)
            answers.add(scored, self._span, self._within)
        return answers


def _dumped(fold: Fold) -> bytes:
    """Compressed: with every slice it goes into the database, and most of a state is zeros."""
    return compressed(fold.dump())


def _sees(agent: Agent, within: Callable[[datetime], bool] | None) -> Callable[[AnyEvent], bool]:
    """What reaches the model: all the agent sees, where it must know what came before; else only what is asked for."""
    if within is None or agent.state is not None or agent.shared is not None:
        return agent.sees
    return lambda event: agent.sees(event) and within(event.at)


async def ahead(slices: AsyncGenerator[Slice, None]) -> AsyncGenerator[Slice, None]:
    """The same slices; while one is worked on, the next is read."""
    reading = asyncio.ensure_future(anext(slices, None))
    try:
        while (piece := await reading) is not None:
            reading = asyncio.ensure_future(anext(slices, None))
            yield piece
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await slices.aclose()
