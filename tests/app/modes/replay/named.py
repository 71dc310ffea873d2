"""A source that an agent reads under the name it bore live, in a test of its own."""

from typing import Any

from app.agent import Agent
from app.modes.replay.plan import Span
from app.modes.replay.sources import TopicSource
from app.modes.stream import Ready


class Named:
    """The same source, as the live agent reads it."""

    def __init__(self, source: TopicSource, live: Ready) -> None:
        self._source, self._live = source, live

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def spans(self, _: Agent) -> list[Span]:
        return await self._source.spans(self._live.agent)
