"""Keeps the store in order beside whoever writes it: its log is brought into its file, and what is too old goes."""

import asyncio
import logging
from datetime import timedelta

from app.clock import utc_now
from app.errors import ServiceUnavailable
from app.modes.consuming.lifecycle import together
from app.sql.journal import Journal

log = logging.getLogger(__name__)

TIDY_S = 0.1

EVERY_S = 60.0
BREATH_S = 0.5
"""Between two helpings: whoever writes decisions goes first."""


async def run(journal: Journal, retention: timedelta, every_s: float = EVERY_S) -> None:
    """Tidy and prune until cancelled; a database that is away is the desk's affair, and both wait for their next turn."""
    await together(_tidy(journal), _prune(journal, retention, every_s))


async def _tidy(journal: Journal) -> None:
    while True:
        try:
            await asyncio.to_thread(journal.tidy)
        except ServiceUnavailable as error:
            log.debug("the store was not tidied: %s", error)
        await asyncio.sleep(TIDY_S)


async def _prune(journal: Journal, retention: timedelta, every_s: float) -> None:
    """What is older than the retention goes, a little at a time."""
    while True:
        try:
            gone = await asyncio.to_thread(journal.prune, utc_now() - retention)
        except ServiceUnavailable as error:
            log.warning("the store was not pruned: %s", error)
            gone = 0
        await asyncio.sleep(BREATH_S if gone else every_s)
