"""The state of a stateful agent, partition by partition, and its snapshots (docs/decisions/0002).

The state is a fold over the records of one partition. A snapshot is the state at one offset, and that offset is
committed after the snapshot is delivered; a worker that is given the partition starts from the last snapshot, folds what
lies between it and its first record (without answering it again), and passes over what the snapshot already knows.
"""

import asyncio
import time
import zlib
from collections.abc import Sequence
from datetime import timedelta

from app.agent import Agent, Features, State
from app.bus import Outgoing, Producer, deliver
from app.codec import Decoder, Record, header
from app.errors import MillraceError
from app.events import AnyEvent, Event
from app.modes.read import reader
from app.modes.scoring import Scorer
from app.topics import state_topic

EVERY = timedelta(seconds=2)
"""A stateful agent commits no more often than it snapshots: a kill repeats up to so much of its output, and a state
of 1 MB costs half a megabyte a second to write."""

_LOOK_BACK = 8
"""Records looked at from the end of the state topic: the last one counts, unless a worker that had lost the partition
wrote behind it."""


class Fold:
    """A state and the offset it stands at; a failed call is taken back to what was kept before.

    `app.modes.scoring.Memory` for one partition. What was folded since the last dump is kept as events, because folding
    them again is the only way back that does not copy the whole state for every batch.
    """

    def __init__(self, agent: Agent, kind: type[State], snapshot: bytes | None = None, offset: int = 0) -> None:
        self._agent, self._kind, self._base = agent, kind, snapshot
        self._since: list[Event] = []
        self._state = self._fresh()
        self.offset = self.saved_offset = offset
        self.saved_at = time.monotonic()

    def extract(self, events: Sequence[Event]) -> Features:
        return self._agent.extract(events, self._state)

    def keep(self, events: Sequence[Event]) -> None:
        self._since.extend(events)

    def undo(self) -> None:
        self._state = self._fresh()
        if self._since:
            self._agent.extract(self._since, self._state)

    def dump(self) -> bytes:
        """The state as it stands; it can be taken back to here from now on."""
        self._base = self._state.dump()
        self._since.clear()
        return self._base

    def _fresh(self) -> State:
        return self._kind() if self._base is None else self._kind.restore(self._base)


class Snapshots:
    """Keeps and finds the snapshots of one agent's state on one input topic."""

    def __init__(
        self,
        agent: Agent,
        kind: type[State],
        decoder: Decoder[AnyEvent],
        scorer: Scorer,
        producer: Producer,
        brokers: str,
    ) -> None:
        self._agent, self._kind, self._decoder, self._scorer = agent, kind, decoder, scorer
        self._producer, self._brokers = producer, brokers
        self._topic = state_topic(agent.name).name

    async def save(self, partition: int, fold: Fold) -> None:
        """Deliver the state as it stands, unless its last snapshot stands there too."""
        if fold.saved_offset != fold.offset:
            snapshot = Outgoing(
                self._topic,
                str(partition).encode(),
                await asyncio.to_thread(lambda: zlib.compress(fold.dump(), level=1)),
                (("offset", str(fold.offset).encode()),),
                partition,
            )
            await deliver(self._producer, [snapshot])
            fold.saved_offset = fold.offset
        fold.saved_at = time.monotonic()

    async def restore(self, first: Record) -> Fold:
        """The state before `first`, or ahead of it. Raises `ServiceUnavailable`."""
        found = await self._last(first.partition)
        if found is None:
            return Fold(self._agent, self._kind, offset=first.offset)
        offset, state = found
        fold = Fold(self._agent, self._kind, state, offset)
        if fold.offset < first.offset:
            await self._catch_up(fold, first)
        return fold

    async def _last(self, partition: int) -> tuple[int, bytes] | None:
        """Of the last snapshots the one that knows most: its offset and the state."""
        found: list[tuple[int, bytes]] = []
        async with reader(self._brokers, self._topic, partition) as source:
            start, end = await source.bounds()
            async for records in source.records(max(start, end - _LOOK_BACK), end):
                found += [_read(record) for record in records]
        if not found:
            return None
        offset, compressed = max(found, key=lambda snapshot: snapshot[0])
        return offset, zlib.decompress(compressed)

    async def _catch_up(self, fold: Fold, first: Record) -> None:
        """Fold what was answered after the snapshot.

        There is such a rest when a worker that had lost the partition wrote over the snapshot of its successor.

        """
        async with reader(self._brokers, first.topic, first.partition) as source:
            async for records in source.records(fold.offset, first.offset):
                messages, _ = self._decoder.decode_batch(records)
                events = [message for message in messages if message is not None and self._agent.sees(message)]
                if events:
                    await self._scorer.score(events, fold)  # an event that failed the first time fails again, alone
        fold.offset = first.offset


def _read(record: Record) -> tuple[int, bytes]:
    offset = header(record.headers, "offset")
    if record.value is None or offset is None:
        raise MillraceError(f"{record.topic}/{record.partition}@{record.offset} is no snapshot: somebody else wrote it")
    return int(offset), record.value
