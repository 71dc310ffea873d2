"""Ends a worker that is stuck, so that its supervisor starts another: faust #596, #629; aiokafka #1154, #847.

Two ways to be stuck: a partition has records to read and its committed offset does not move; or a call holds the
interpreter itself, so that nothing in Python runs any more, this watchdog included.
"""

import asyncio
import faulthandler
import logging
import time
from datetime import timedelta

from aiokafka.structs import TopicPartition

from app.modes.consuming.group import Group
from app.modes.consuming.lifecycle import EXIT_STUCK, Leave
from app.telemetry import LAG

log = logging.getLogger(__name__)

_ANSWER_S = 5.0
"""A question to the broker waits for the fetch that is under way on the same connection, so milliseconds will not do."""

Offsets = dict[TopicPartition, int]

_LOOKS = 12
"""How often one looks within `stuck_after`."""


class Watch:
    """Tells, from what is committed and what there is, which partitions have stood still too long.

    Example:
        >>> watch, where = Watch(timedelta(seconds=60)), TopicPartition("rides", 0)
        >>> watch.stuck({where: 10}, {where: 12}, now=0)
        []
        >>> watch.stuck({where: 10}, {where: 15}, now=61)
        [TopicPartition(topic='rides', partition=0)]
        >>> watch.stuck({where: 15}, {where: 15}, now=200)
        []

        A topic nobody has written to yet has nothing to commit:

        >>> [watch.stuck({}, {where: 0}, now=now) for now in (300, 400)]
        [[], []]
    """

    def __init__(self, stuck_after: timedelta) -> None:
        self._limit_s = stuck_after.total_seconds()
        self._since: dict[TopicPartition, tuple[int, float]] = {}

    def stuck(self, committed: Offsets, ends: Offsets, now: float) -> list[TopicPartition]:
        """`committed` and `ends` are next offsets; `now` is any clock that only moves forward, seconds."""
        self._since = {where: since for where, since in self._since.items() if where in ends}
        found = []
        for where, end in ends.items():
            offset = committed.get(where, 0)
            before, since = self._since.get(where, (offset, now))
            if offset != before or offset >= end:
                since = now
            self._since[where] = offset, since
            if now - since > self._limit_s:
                found.append(where)
        return found


async def watch(group: Group, stuck_after: timedelta) -> None:
    """Look at the group until it is stuck; raises `Leave` then."""
    state = Watch(stuck_after)
    pause_s = stuck_after.total_seconds() / _LOOKS
    try:
        while True:
            # From a thread of C that needs no interpreter lock: a regular expression that runs away holds it.
            faulthandler.dump_traceback_later(2 * stuck_after.total_seconds(), exit=True)
            await asyncio.sleep(pause_s)
            committed, ends = await _offsets(group)
            LAG.labels(group.name).set(sum(max(0, end - committed.get(where, 0)) for where, end in ends.items()))
            if found := state.stuck(committed, ends, time.monotonic()):
                names = ", ".join(f"{where.topic}/{where.partition}" for where in found)
                log.critical("%s: no progress on %s for %s; leaving", group.name, names, stuck_after)
                raise Leave(EXIT_STUCK, f"no progress on {names}")
    finally:
        faulthandler.cancel_dump_traceback_later()


async def _offsets(group: Group) -> tuple[Offsets, Offsets]:
    """What is committed and what there is, of each assigned partition; nothing while the broker does not answer.

    The ends are asked of the broker, because a consumer whose fetching is stuck does not know them.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await group.committed(), await group.ends()
    except TimeoutError:
        return {}, {}
