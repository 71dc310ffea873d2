"""The records of a span to answers: the loop's own processing, with the memory of a replay.

Between the sources and whoever wants the answers: the worker, and the check of what was said live.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

from app.agent import Agent, Features, State, find
from app.codec import Record
from app.events import AnyEvent, Event
from app.modes.replay.plan import Chosen, Span
from app.modes.replay.rows import Answers
from app.modes.replay.sources import Source
from app.modes.scoring.process import Processor, Seen
from app.modes.scoring.scorer import Memory, Plain, Scorer
from app.modes.scoring.state import Fold
from app.modes.stream import Ready
from app.registry import Registry

P = TypeVar("P")

CALL_TIMEOUT = timedelta(seconds=60)
"""A call that takes so long is hanging. Live it is 5 s; a replay yields the processor to others, and may wait for it."""


def load(chosen: Chosen, registry: Registry) -> Ready:
    """An agent with this version of its model, or the version an alias stands for."""
    agent = find(chosen.agent)
    artifact = registry.load(agent.name, chosen.version)
    return Ready(agent, agent.load(artifact), artifact.version)


class Afresh(Plain):
    """The memory of a stateful agent over events that rest on no state: each call begins with an empty one."""

    def __init__(self, agent: Agent, kind: type[State]) -> None:
        super().__init__(agent)
        self._kind = kind

    def extract(self, events: Sequence[Event]) -> Features:
        return self._agent.extract(events, self._kind())


def memory_of(agent: Agent, private: Path, name: str, state: bytes | None = None, *, remembers: bool = True) -> Memory:
    """What the agent remembers here: a fold from `state`, as a lane keeps it, or what its workers would share, in `private`.

    The live memory is not touched: events of the past would be entered into it as if they happened now. A span says
    whether its events want a state at all (`Span.state`).
    """
    if agent.state is not None:
        before = None if state is None else zlib.decompress(state)
        return Fold(agent, agent.state, before) if remembers else Afresh(agent, agent.state)
    if agent.shared is None:
        return Plain(agent)
    private.mkdir(parents=True, exist_ok=True)
    return Plain(agent, agent.shared(f"sqlite:///{(private / f'{name}.db').resolve()}"))


class Piece(NamedTuple):
    """A slice, decoded.

    Attributes:
        records: all of them, also those the agent does not see.
        calls: what is scored in one call each.
        position: in the span, behind it.
    """

    records: Sequence[Record]
    calls: Sequence[Seen]
    position: int


class Scoring:
    """The records of one span to answers, in calls of the agent's `max_batch`."""

    def __init__(self, ready: Ready, source: Source, span: Span, memory: Memory) -> None:
        self._agent, self._source, self._span, self._memory = ready.agent, source, span, memory
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
        if isinstance(self._memory, Plain):
            self._memory.close()

    def pieces(self, position: int) -> AsyncGenerator[Piece, None]:
        """The span from a position on; while one piece is worked on, the next is read and decoded."""
        return ahead(self._decoded(position))

    async def score(self, piece: Piece) -> Answers:
        return await self._answers(piece.calls)

    async def answers(self, records: Sequence[Record]) -> Answers:
        """Of records that were not read ahead."""
        return await self._answers(self._read(records))

    async def state(self) -> bytes | None:
        """What is remembered behind all that was scored, to go on from; `None` where nothing is."""
        memory = self._memory
        return await asyncio.to_thread(memory.dump) if isinstance(memory, Fold) else None

    async def _answers(self, calls: Sequence[Seen]) -> Answers:
        answers = Answers(self._agent, self._inputs)
        for seen in calls:
            answers.add(await self.processor.answer(seen, self._memory), self._span, self._within)
        return answers

    async def _decoded(self, position: int) -> AsyncGenerator[Piece, None]:
        async with aclosing(self._source.slices(self._span, position)) as slices:
            async for records, behind in slices:
                yield Piece(records, await asyncio.to_thread(self._read, records), behind)

    def _read(self, records: Sequence[Record]) -> list[Seen]:
        size = self._agent.max_batch
        return [self.processor.read(records[start : start + size]) for start in range(0, len(records), size)]


def _sees(agent: Agent, within: Callable[[datetime], bool] | None) -> Callable[[AnyEvent], bool] | None:
    """What reaches the model; `None`: all the agent sees, as it must know what came before. Else only what is asked for."""
    if within is None or agent.state is not None or agent.shared is not None:
        return None
    return lambda event: agent.sees(event) and within(event.at)


async def ahead(slices: AsyncGenerator[P, None]) -> AsyncGenerator[P, None]:
    """The same; while one is worked on, the next is read."""
    reading = asyncio.ensure_future(anext(slices, None))
    try:
        while (piece := await reading) is not None:
            reading = asyncio.ensure_future(anext(slices, None))
            yield piece
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await slices.aclose()
