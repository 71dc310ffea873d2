"""The first estimate of a ride: asked for while its request is on its way to Kafka, and never waited for beyond a short deadline.

Between `gateway.routes` and `app.asking.asker`.
"""

import asyncio
from datetime import timedelta

from app.asking.asker import Asks
from app.errors import AskingFailed
from app.events import RideRequested

AGENT = "duration"


class Estimates:
    """Args: `within` is how long an estimate may take; zero asks for none."""

    def __init__(self, asks: Asks, within: timedelta) -> None:
        self._asks, self._within_s = asks, within.total_seconds()

    def begin(self, event: RideRequested) -> "asyncio.Task[float | None] | None":
        """Ask, in the background; the task never fails, and ends in time. Nothing, where nobody would answer."""
        if self._within_s <= 0 or not self._asks.serves(AGENT):
            return None
        return asyncio.get_running_loop().create_task(self._minutes(event))

    async def _minutes(self, event: RideRequested) -> float | None:
        try:
            said = await self._asks.ask(AGENT, [event], self._within_s)
        except AskingFailed:
            return None
        return said.values[0]
