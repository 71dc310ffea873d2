"""The first estimate of a ride: its request carries to Kafka where the agent's word on it is wanted, and for how long.

Between `gateway.routes` and `app.asking.asker`. The agent answers from its stream (`app.modes.stream`), with the very
prediction it publishes; a question of its own would cost each ride three more records and two more fetches.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import NamedTuple

from app.asking.asker import Asks, Expected
from app.codec import Headers
from app.errors import AskingFailed

AGENT = "duration"


class Estimate(NamedTuple):
    """An estimate that is waited for; nothing, where none is wanted or nobody would answer."""

    expected: Expected | None

    @property
    def headers(self) -> Headers:
        """Of the ride's record."""
        return self.expected.headers if self.expected is not None else ()

    async def minutes(self) -> float | None:
        """`None` when it did not come in time."""
        if self.expected is None:
            return None
        try:
            return (await self.expected.answer).values[0]
        except AskingFailed:
            return None


class Estimates:
    """Args: `within` is how long an estimate may take; zero asks for none."""

    def __init__(self, asks: Asks, within: timedelta) -> None:
        self._asks, self._within_s = asks, within.total_seconds()

    @contextmanager
    def beginning(self) -> Iterator[Estimate]:
        """The time of an estimate begins; it is waited for within the context."""
        with ExitStack() as stack:
            expected = None
            if self._within_s > 0 and self._asks.serves(AGENT):
                with suppress(AskingFailed):
                    expected = stack.enter_context(self._asks.expecting(AGENT, self._within_s))
            yield Estimate(expected)
