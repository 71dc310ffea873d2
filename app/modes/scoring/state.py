"""The state of a stateful agent, partition by partition, and its snapshots (docs/decisions/0002).

A state is a fold over the records of one partition number of the agent's topics, and over all of those topics it hears.
A snapshot is the state with the offset it has come to on each of them. A worker that is given the partition takes the
last snapshot, folds what was answered since (without answering it again), and passes over what the snapshot knows already.
"""

import asyncio
import copy
import logging
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec
import numpy as np
from aiokafka.structs import TopicPartition

from app.agent import Agent, Features, State, Values
from app.bus import Outgoing, Producer, deliver
from app.codec import Decoder, Headers, Record, header
from app.errors import InvalidMessage, MillraceError
from app.events import AnyEvent, Event
from app.modes.consuming.read import ends, reader
from app.modes.scoring.scorer import Scorer
from app.topics import DEAD_LETTERS, Topic, state_topic

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=10)
"""Between snapshots. A kill costs reading and folding so much again, without the model: seconds, at 65,000 records each."""

_SHARE = 0.01
"""The share of a partition's time that its snapshots may take: a large state, which costs half a second, waits longer."""

_LOOK_BACK = 8
"""Records looked at from the end of the state topic: the last one counts, unless a worker that had lost the partition
wrote behind it."""

_REMEMBERED = 32_768
"""Events after which the state is copied in memory: half a kilobyte each, they would outgrow any state."""

Offsets = Mapping[TopicPartition, int]

STANDS = "state.offsets"
"""Header of predictions that rest on a state over several topics: the next offset of each that the state had not seen when
the first of them was scored. Kafka keeps no order between topics; with this the state can be had again, to the bit."""


class Fold:
    """A state and how far it has come; a failed call is taken back to what was kept before.

    `app.modes.scoring.scorer.Memory` for one partition. What was folded since the last dump or copy is kept as events, because
    folding them again is the only way back that does not copy the whole state for every batch.

    Attributes:
        offsets: the next record of each topic and partition that it has not seen.
        saved: those of its last snapshot, which took `save_s` seconds to make.
    """

    def __init__(
        self, agent: Agent, kind: type[State], snapshot: bytes | None = None, offsets: Offsets | None = None
    ) -> None:
        self._agent, self._kind = agent, kind
        self._base: State | bytes | None = snapshot
        self._since: list[Event] = []
        self._state = self._fresh()
        self.offsets = dict(offsets or {})
        self.saved: Offsets | None = None if snapshot is None else dict(self.offsets)
        self.saved_at, self.save_s = time.monotonic(), 0.0

    def extract(self, events: Sequence[Event]) -> Features:
        return self._agent.extract(events, self._state)

    def keep(self, events: Sequence[Event]) -> None:
        self._since.extend(events)
        if len(self._since) > _REMEMBERED:
            self._base = copy.deepcopy(self._state)
            self._since.clear()

    def undo(self) -> None:
        self._state = self._fresh()
        if self._since:
            self._agent.extract(self._since, self._state)

    def dump(self) -> bytes:
        """The state as it stands; it can be taken back to here from now on."""
        self._base = dumped = self._state.dump()
        self._since.clear()
        return dumped

    def unseen(self, records: Sequence[Record]) -> Sequence[Record]:
        """Of records of one partition, in order, those it has not seen."""
        where = TopicPartition(records[0].topic, records[0].partition)
        known = self.offsets.get(where, 0)
        return records if records[0].offset >= known else [record for record in records if record.offset >= known]

    def seen(self, where: TopicPartition, offset: int) -> None:
        """It has come to this offset; never backwards."""
        self.offsets[where] = max(offset, self.offsets.get(where, 0))

    @property
    def due(self) -> bool:
        """Whether a snapshot is due; one without any is, for what is committed must never have been the only trace."""
        pause_s = max(EVERY.total_seconds(), self.save_s / _SHARE)
        return self.saved is None or time.monotonic() - self.saved_at >= pause_s

    def _fresh(self) -> State:
        if self._base is None:
            return self._kind()
        return self._kind.restore(self._base) if isinstance(self._base, bytes) else copy.deepcopy(self._base)


@dataclass(frozen=True)
class Sources:
    """What a state is a fold over.

    Attributes:
        own: topics of which it is told its own partition number.
        heard: topics of which it is told all `partitions`.
    """

    own: Sequence[Topic]
    heard: Sequence[Topic]
    partitions: int

    def all_heard(self) -> list[TopicPartition]:
        return [TopicPartition(topic.name, number) for topic in self.heard for number in range(self.partitions)]


class Snapshots:
    """Keeps and finds the snapshots of one agent's state, and folds without answering."""

    def __init__(self, agent: Agent, sources: Sources, producer: Producer, brokers: str, timeout_s: float) -> None:
        self._agent, self._sources, self._producer, self._brokers = agent, sources, producer, brokers
        self._decoders = {t.name: Decoder[AnyEvent](t.messages) for t in (*sources.own, *sources.heard)}
        # Folds as live, row by row where a row fails, and asks no model.
        self._scorer = Scorer(replace(agent, detail=None, low=-np.inf, high=np.inf), _Silent(), timeout_s)
        self._topic = state_topic(agent.name).name

    def close(self) -> None:
        self._scorer.close()

    def fresh(self, snapshot: bytes | None = None, offsets: Offsets | None = None) -> Fold:
        assert self._agent.state is not None  # noqa: S101 - only made for a stateful agent
        return Fold(self._agent, self._agent.state, snapshot, offsets)

    async def save(self, partition: int, fold: Fold) -> None:
        """Deliver the state as it stands, unless its last snapshot stands there too."""
        if fold.saved != fold.offsets:
            started = time.monotonic()
            snapshot = Outgoing(
                self._topic,
                str(partition).encode(),
                await asyncio.to_thread(lambda: compressed(fold.dump())),
                (("offsets", _worded(fold.offsets)),),
                partition,
            )
            fold.save_s = time.monotonic() - started
            await deliver(self._producer, [snapshot])
            fold.saved = dict(fold.offsets)
        fold.saved_at = time.monotonic()

    async def restore(self, partition: int, committed: Offsets) -> Fold:
        """The state as of what is committed, or ahead of it, and of all there is to hear. Raises `ServiceUnavailable`.

        Without any snapshot it is made anew from all that the topics still hold.
        """
        snapshots = await self._last(partition)
        own, heard = [TopicPartition(topic.name, partition) for topic in self._sources.own], self._sources.all_heard()
        there = await ends(self._brokers, [*own, *heard])  # after the snapshots: none of these logs can be ahead of it
        fold = self._as_of(snapshots, there)
        for where in own:
            await self._read(fold, where, committed.get(where, 0))
        for where in heard:
            await self._read(fold, where, there[where])
        return fold

    async def hear(self, fold: Fold, records: Sequence[Record]) -> None:
        """Fold records of one partition that it hears, and what it has missed before them."""
        where = TopicPartition(records[0].topic, records[0].partition)
        if fold.offsets.get(where, 0) < records[0].offset:
            await self._read(fold, where, records[0].offset)
        await self._fold(fold, records)

    async def _last(self, partition: int) -> list[tuple[Offsets, bytes]]:
        """The last snapshots: offsets and compressed state of each."""
        found: list[tuple[Offsets, bytes]] = []
        async with reader(self._brokers, self._topic, partition) as source:
            start, end = await source.bounds()
            async for records in source.records(max(start, end - _LOOK_BACK), end):
                found += [_snapshot(record) for record in records]
        return found

    def _as_of(self, snapshots: Sequence[tuple[Offsets, bytes]], there: Offsets) -> Fold:
        """The snapshot that knows most of the logs there are.

        One that goes beyond their ends is of a log that was deleted and made anew: with it, the new one would be passed over.
        """
        ours = [
            each for each in snapshots if all(offset <= there.get(where, offset) for where, offset in each[0].items())
        ]
        if len(ours) < len(snapshots):
            log.warning("%s: a snapshot goes beyond the ends of its topics, and is of no use", self._topic)
        if not ours:
            return self.fresh()
        offsets, state = max(ours, key=lambda snapshot: sum(snapshot[0].values()))
        return self.fresh(zlib.decompress(state), offsets)

    async def _read(self, fold: Fold, where: TopicPartition, end: int) -> None:
        """Fold what lies between the state and `end`."""
        known = fold.offsets.get(where, 0)
        if known < end:
            async with reader(self._brokers, where.topic, where.partition) as source:
                first, _ = await source.bounds()
                async for records in source.records(max(first, known), end):
                    await self._fold(fold, records)
            fold.seen(where, end)

    async def _fold(self, fold: Fold, records: Sequence[Record]) -> None:
        """Fold these as they were or will be when answered: what cannot be read or fails then fails here too, alone."""
        where = TopicPartition(records[0].topic, records[0].partition)
        for part in parts(fold.unseen(records), self._agent.max_batch):
            messages, _ = self._decoders[where.topic].decode_batch(part)
            events = [message for message in messages if message is not None and self._agent.sees(message)]
            if events:
                await self._scorer.score(events, fold)
            fold.seen(where, part[-1].offset + 1)


def stood(records: Sequence[Outgoing], fold: Fold) -> list[Outgoing]:
    """The same, the predictions saying where the state stands; see `STANDS`."""
    mark = (STANDS, _worded(fold.offsets))
    return [
        each if each.topic == DEAD_LETTERS.name else each._replace(headers=(*each.headers, mark)) for each in records
    ]


def stands(headers: Headers) -> Offsets | None:
    """Where the state stood behind a prediction; `None` where it does not say. Raises `InvalidMessage`."""
    told = header(headers, STANDS)
    try:
        return None if told is None else _offsets(told)
    except ValueError as error:
        raise InvalidMessage("expected offsets by topic/partition", STANDS) from error


class _Silent:
    """A model that says nothing of any row."""

    def predict(self, features: Features) -> Values:
        return np.zeros(features.shape[0])


def compressed(state: bytes) -> bytes:
    """As it is delivered: level 1, for more would cost more than it saves."""
    return zlib.compress(state, level=1)


def parts(records: Sequence[Record], size: int) -> Iterable[Sequence[Record]]:
    """The records in calls of at most so many."""
    return (records[start : start + size] for start in range(0, len(records), size))


def _snapshot(record: Record) -> tuple[Offsets, bytes]:
    """Its offsets and the state. Raises `MillraceError`: without its state, an agent must not go on."""
    try:
        if record.value is None:
            raise ValueError("it has no value")
        return _offsets(header(record.headers, "offsets") or ""), record.value
    except ValueError as error:
        raise MillraceError(
            f"{record.topic}/{record.partition}@{record.offset} is no snapshot: somebody else wrote it; delete the topic, "
            "and the state is made anew from what its inputs still hold"
        ) from error


def _worded(offsets: Offsets) -> bytes:
    return msgspec.json.encode({f"{where.topic}/{where.partition}": offset for where, offset in offsets.items()})


def _offsets(text: str) -> dict[TopicPartition, int]:
    """Raises `ValueError`, as msgspec's own errors are."""
    offsets = {}
    for name, offset in msgspec.json.decode(text, type=dict[str, int]).items():
        topic, _, partition = name.rpartition("/")
        offsets[TopicPartition(topic, int(partition))] = offset
    return offsets
