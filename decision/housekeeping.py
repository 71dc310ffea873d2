"""Keeps the store from growing for ever: what is older than the retention goes, a little at a time."""

import asyncio
import logging
from datetime import timedelta

from app.clock import utc_now
from app.errors import ServiceUnavailable
from app.sql.journal import Journal

log = logging.getLogger(__name__)

EVERY_S = 60.0
BREATH_S = 0.5
"""Between two helpings: whoever writes decisions goes first."""


async def run(journal: Journal, retention: timedelta, every_s: float = EVERY_S) -> None:
    """Prune until cancelled; a database that is away is the desk's affair, and pruning waits for its next turn."""
    while True:
        try:
            gone = await asyncio.to_thread(journal.prune, utc_now() - retention)
        except ServiceUnavailable as error:
            log.warning("the store was not pruned: %s", error)
            gone = 0
        await asyncio.sleep(BREATH_S if gone else every_s)
