"""The one loop: what has arrived on a partition is decoded, scored in one call, delivered, and then committed.

Runs agents (`agents/*`) as consumer groups of their own, through `app.modes.consuming.group`; what happens to a batch is
`app.modes.scoring.process`. At least once: a record is committed only when its prediction or its dead letter is delivered.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from aiokafka.structs import TopicPartition

from app import topic_admin
from app.agent import Agent, Model, find
from app.bus import KafkaProducer, Producer, deliver
from app.codec import Decoder, Record
from app.errors import ConfigurationError
from app.events import AnyEvent, Event
from app.examples import EXAMPLES
from app.modes.ask import Answering
from app.modes.consuming.fetching import SharedFetches
from app.modes.consuming.group import Batching, Group
from app.modes.consuming.hearing import Hearing
from app.modes.consuming.lifecycle import EXIT_HUNG, Leave, settle, together, until_stopped
from app.modes.consuming.progress import RecordBatch
from app.modes.consuming.transport import FETCH_BYTES, Committable
from app.modes.consuming.watchdog import watch
from app.modes.scoring.answers import to_senders
from app.modes.scoring.process import Processor, outgoing
from app.modes.scoring.scorer import Memory, Plain, Scorer
from app.modes.scoring.state import Fold, Snapshots, Sources, parts, stood
from app.registry import Registry, open_registry
from app.settings import Settings
from app.telemetry import BATCH, HANGS, LATENCY, SCORING, observe
from app.topics import TOPICS, Topic, agent_topics

log = logging.getLogger(__name__)

MAX_HANGS = 16
"""Threads left behind before a worker is replaced; each may hold a core, and the memory of a batch."""

_WAITING_BYTES = 6 << 20
"""What may wait per partition for a batch with `within` to fill. The busiest partition of the bank (till transactions, a quarter
of 60 % of 65,000 a second) gets 2.5 MB in a second; as objects it is twice that, and there are twelve partitions."""


@dataclass(frozen=True)
class Ready:
    """An agent with its model loaded."""

    agent: Agent
    model: Model
    version: str


async def run(names: Sequence[str], settings: Settings) -> None:
    """Host these agents until SIGTERM or SIGINT, or until one cannot go on.

    Exits with `EXIT_STUCK` or `EXIT_HUNG` when the process should be replaced. Raises `ConfigurationError` for a name
    nobody bears, `ArtifactError` for a model that is missing or altered, and what ended an agent.
    """
    observe(settings)
    registry = open_registry(settings)
    ready = [load(find(name), registry) for name in names]
    own = (agent_topics(each.agent.name, stateful=each.agent.state is not None) for each in ready)
    await topic_admin.ensure(settings, [topic for topics in own for topic in topics])
    await host(ready, settings)


def load(agent: Agent, registry: Registry) -> Ready:
    """The agent with the champion of its model."""
    artifact = registry.load(agent.name)
    return Ready(agent, agent.load(artifact), artifact.version)


async def host(ready: Sequence[Ready], settings: Settings) -> None:
    """Run agents that are ready in this process, each as a group of its own, and answer what is asked of them; see `run`."""
    if settings.kafka is None:
        raise ConfigurationError("MILLRACE_KAFKA: a worker needs a broker; `millrace up` brings one along")
    producer = KafkaProducer(settings.kafka, "millrace.agents")
    answers = KafkaProducer(settings.kafka, "millrace.answers")  # of their own: they never wait behind a micro-batch
    fetches = SharedFetches()
    loops = [Loop(each, inputs(each.agent), producer, settings, fetches, heard(each.agent)) for each in ready]
    asked = [
        Answering(each.agent, each.version, loop.scorer, answers, settings)
        for each, loop in zip(ready, loops, strict=True)
    ]
    try:
        await producer.start()
        await answers.start()
        for loop in loops:
            await loop.warm()
        settle()
        await until_stopped(*(loop.run() for loop in loops), *(each.run() for each in asked))
    finally:
        await producer.close()
        await answers.close()


def inputs(agent: Agent) -> list[Topic]:
    """The topics whose messages the agent consumes or follows."""
    return _carrying(agent.consumes + agent.follows)


def heard(agent: Agent) -> list[Topic]:
    """The topics of whose every partition each of the agent's states is told."""
    return _carrying(agent.hears)


def _carrying(events: Sequence[type[Event]]) -> list[Topic]:
    return [topic for topic in TOPICS if set(events) & set(get_args(topic.messages) or (topic.messages,))]


def window(agent: Agent, settings: Settings) -> timedelta:
    """How long the agent's first record may wait for more: as declared, or as the setting overrules it."""
    return settings.within if agent.within and settings.within is not None else agent.within


class Loop:
    """One agent at work on its topics."""

    def __init__(
        self,
        ready: Ready,
        topics: Sequence[Topic],
        producer: Producer,
        settings: Settings,
        fetches: SharedFetches | None = None,
        hears: Sequence[Topic] = (),
    ) -> None:
        agent = ready.agent
        self._agent, self._producer, self._settings = agent, producer, settings
        self._scorer = Scorer(agent, ready.model, settings.score_timeout.total_seconds())
        decoders = {topic.name: Decoder[AnyEvent](topic.messages) for topic in topics}
        self._processors = {
            name: Processor(agent, ready.version, decoder, self._scorer) for name, decoder in decoders.items()
        }
        self._plain = Plain(agent, agent.shared(settings.database_url) if agent.shared is not None else None)
        self._meters = _Meters(agent.name)
        self._worn_out = asyncio.Event()
        self._folds: dict[int, Fold] = {}
        self._mixes = len(topics) + len(hears) > 1
        within = window(agent, settings)
        self.group = Group(
            f"millrace.{agent.name}",
            topics,
            self._handle,
            settings,
            on_revoked=self._forget,
            batching=Batching(agent.max_batch, within),
            limit_bytes=_WAITING_BYTES if within else FETCH_BYTES,
            before_commit=self._save if agent.state is not None else None,
            due=self._due,
            fetches=fetches,
        )
        sources = Sources(topics, hears, settings.partitions)
        brokers, timeout_s = settings.kafka or "", settings.score_timeout.total_seconds()
        self._snapshots = Snapshots(agent, sources, producer, brokers, timeout_s) if agent.state is not None else None
        self._hearing = Hearing(brokers, sources.all_heard(), self._hear) if sources.heard else None
        log.info("%s waits up to %g s for a fuller batch", agent.name, within.total_seconds())

    @property
    def scorer(self) -> Scorer:
        """What scores this agent's batches; whoever else scores for it does so in turn, for a model need not be thread-safe."""
        return self._scorer

    async def warm(self) -> None:
        """Score one example of each event the agent sees, so that the first ride does not wait for lazy set-up.

        Not for an agent with a shared state, which would remember the example.
        """
        events = [event for event in EXAMPLES if self._agent.sees(event)]
        if self._agent.shared is None and events:
            await self._scorer.score(events, Fold(self._agent, self._agent.state) if self._agent.state else self._plain)

    async def run(self) -> None:
        """Consume until cancelled, or raise what ended it."""
        try:
            if self._hearing is not None:
                await self._hearing.start()  # before any state is restored: there must be no gap between the two
            hearing = [self._hearing.run()] if self._hearing is not None else []
            await together(self.group.run(), watch(self.group, self._settings.stuck_after), self._wear_out(), *hearing)
        finally:
            self._scorer.close()
            self._plain.close()
            if self._snapshots is not None:
                self._snapshots.close()

    async def _wear_out(self) -> None:
        """Leave once too many calls have hung; what is in hand is finished and committed first, as at every end."""
        await self._worn_out.wait()
        raise Leave(EXIT_HUNG, f"{self._agent.name}: {self._scorer.hangs} calls never returned")

    async def _handle(self, batch: RecordBatch) -> None:
        """One batch of one partition: score and deliver it, in calls of `max_batch` at most."""
        where = TopicPartition(batch.topic, batch.partition)
        fold = await self._fold(batch.partition) if self._snapshots is not None else None
        records = batch.records if fold is None else fold.unseen(batch.records)
        try:
            for part in parts(records, self._agent.max_batch):
                await self._answer(batch.topic, part, fold or self._plain)
        except BaseException:
            self._folds.pop(batch.partition, None)  # it is ahead of what was delivered, and must be in no snapshot
            raise
        if fold is not None:
            fold.seen(where, batch.next_offset)
        if self._scorer.hangs >= MAX_HANGS:
            self._worn_out.set()

    async def _answer(self, topic: str, records: Sequence[Record], memory: Memory) -> None:
        name, hangs, started = self._agent.name, self._scorer.hangs, time.perf_counter()
        outcome = await self._processors[topic].process(records, memory)
        self._meters.scoring.observe(time.perf_counter() - started)
        self._meters.hangs.inc(self._scorer.hangs - hangs)
        self._meters.batch.observe(len(records))
        if records:
            self._meters.latency.observe(max(0.0, outcome.at.timestamp() - records[0].timestamp_ms / 1000))
        said = outgoing(name, outcome)
        if self._mixes and isinstance(memory, Fold):
            said = stood(said, memory)
        if replies := to_senders(name, outcome):
            await self._producer.post(replies)
        await deliver(self._producer, said)

    async def _fold(self, partition: int) -> Fold:
        """The state of this partition number; restored when this is the first batch since it was assigned."""
        assert self._snapshots is not None  # noqa: S101 - only asked of a stateful agent
        fold = self._folds.get(partition)
        if fold is None:
            committed = await self.group.committed()
            fold = self._folds[partition] = await self._snapshots.restore(partition, committed)
        return fold

    async def _hear(self, records: Sequence[Record]) -> None:
        """Tell every state that is held here, each between two of its batches."""

        async def tell(partition: int) -> None:
            if self._snapshots is not None and (fold := self._folds.get(partition)) is not None:
                await self._snapshots.hear(fold, records)

        await self.group.between_batches(tell)

    def _due(self, partition: int) -> bool:
        return partition not in self._folds or self._folds[partition].due

    async def _save(self, offsets: Committable, last_chance: bool) -> Committable:
        """Deliver the snapshots that are due, and let everything be committed: what follows a snapshot is read again."""
        assert self._snapshots is not None  # noqa: S101 - only asked of a stateful agent
        for partition in {where.partition for where in offsets}:
            fold = self._folds.get(partition)
            if fold is not None and (last_chance or fold.due):
                await self._snapshots.save(partition, fold)
        return offsets

    async def _forget(self, partitions: frozenset[TopicPartition]) -> None:  # noqa: ARG002 - a rebalance revokes all
        self._folds.clear()


class _Meters:
    """What is counted of one agent; each look-up by name costs as much as the counting."""

    def __init__(self, name: str) -> None:
        self.scoring, self.batch, self.latency = (each.labels(name) for each in (SCORING, BATCH, LATENCY))
        self.hangs = HANGS.labels(name)
