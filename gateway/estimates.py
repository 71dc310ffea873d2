"""The first estimate of a ride: its request carries to Kafka where the agent's word on it is wanted, and for how long.

Between `gateway.routes` and `app.asking.asker`. The agent answers from its stream (`app.modes.stream`), with the very
prediction it publishes; a question of its own would cost each ride three more records and two more fetches.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta

from app.asking.asker import Asks, Expected
from app.codec import Headers
from app.errors import AskingFailed

AGENT = "duration"

PATIENCE, RETRY = 8, 16
"""When so many estimates in a row have not come, the agent has fallen behind: only one ride of so many waits for one
until it has caught up."""


class Estimates:
    """Args: `within` is how long an estimate may take; zero asks for none."""

    def __init__(self, asks: Asks, within: timedelta) -> None:
        self._asks, self._within_s = asks, within.total_seconds()
        self._missed = 0

    @contextmanager
    def beginning(self) -> Iterator["Estimate"]:
        """The time of an estimate begins; it is waited for within the context."""
        with ExitStack() as stack:
            expected = None
            if self._within_s > 0 and self._asks.serves(AGENT) and self._hopeful():
                with suppress(AskingFailed):
                    expected = stack.enter_context(self._asks.expecting(AGENT, self._within_s))
            yield Estimate(self, expected)

    def ended(self, *, came: bool) -> None:
        """An estimate is no longer waited for."""
        self._missed = 0 if came else self._missed + 1

    def _hopeful(self) -> bool:
        if self._missed < PATIENCE or self._missed % RETRY == 0:
            return True
        self._missed += 1
        return False


class Estimate:
    """An estimate that is waited for; nothing, where none is wanted or nobody would answer."""

    def __init__(self, estimates: Estimates, expected: Expected | None) -> None:
        self._estimates, self._expected = estimates, expected

    @property
    def headers(self) -> Headers:
        """Of the ride's record."""
        return self._expected.headers if self._expected is not None else ()

    async def minutes(self) -> float | None:
        """`None` when it did not come in time, or the agent cannot score this ride."""
        if self._expected is None:
            return None
        try:
            answer = await self._expected.answer
        except AskingFailed:
            self._estimates.ended(came=False)
            return None
        self._estimates.ended(came=True)
        return answer.values[0]
