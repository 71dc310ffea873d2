"""The one loop: what has arrived on a partition is decoded, scored in one call, delivered, and then committed.

Runs agents (`agents/*`) as consumer groups of their own, through `app.modes.group`; what happens to a batch is
`app.modes.process`. At least once: a record is committed only when its prediction or its dead letter is delivered.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from aiokafka.structs import TopicPartition

from app import topic_admin
from app.agent import Agent, Model, find
from app.bus import KafkaProducer, Producer, deliver
from app.codec import Decoder, Record
from app.errors import ConfigurationError
from app.events import AnyEvent
from app.examples import EXAMPLES
from app.modes.ask import Answering
from app.modes.fetching import SharedFetches
from app.modes.group import Batching, Group
from app.modes.lifecycle import EXIT_HUNG, Leave, settle, together, until_stopped
from app.modes.process import Processor, outgoing
from app.modes.progress import RecordBatch
from app.modes.scoring import Memory, Plain, Scorer
from app.modes.state import EVERY, Fold, Snapshots
from app.modes.transport import FETCH_BYTES, Committable
from app.modes.watchdog import watch
from app.registry import Registry, open_registry
from app.settings import Settings
from app.telemetry import BATCH, HANGS, LATENCY, SCORING, setup_logging
from app.topics import TOPICS, Topic, agent_topics

log = logging.getLogger(__name__)

MAX_HANGS = 16
"""Threads left behind before a worker is replaced; each may hold a core, and the memory of a batch."""

_WAITING_BYTES = 16 << 20
"""What may wait per partition for a batch with `within` to fill: a second of the bank's 65,000 transactions is 13 MB."""


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
    setup_logging(settings.log_level)
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
    loops = [Loop(each, inputs(each.agent), producer, settings, fetches) for each in ready]
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
    wanted = set(agent.consumes + agent.follows)
    return [topic for topic in TOPICS if wanted & set(get_args(topic.messages) or (topic.messages,))]


class Loop:
    """One agent at work on its topics."""

    def __init__(
        self,
        ready: Ready,
        topics: Sequence[Topic],
        producer: Producer,
        settings: Settings,
        fetches: SharedFetches | None = None,
    ) -> None:
        agent = ready.agent
        self._agent, self._producer, self._settings = agent, producer, settings
        self._scorer = Scorer(agent, ready.model, settings.score_timeout.total_seconds())
        decoders = {topic.name: Decoder[AnyEvent](topic.messages) for topic in topics}
        self._processors = {
            name: Processor(agent, ready.version, decoder, self._scorer) for name, decoder in decoders.items()
        }
        self._plain = Plain(agent, agent.shared(settings.database_url) if agent.shared is not None else None)
        self._worn_out = asyncio.Event()
        self._folds: dict[int, Fold] = {}
        self._snapshots = _snapshots(agent, decoders, self._scorer, producer, settings)
        waits = agent.within.total_seconds() > 0
        self.group = Group(
            f"millrace.{agent.name}",
            topics,
            self._handle,
            settings,
            on_revoked=self._forget,
            batching=Batching(agent.max_batch, agent.within),
            limit_bytes=_WAITING_BYTES if waits else FETCH_BYTES,
            before_commit=self._save if self._snapshots is not None else None,
            fetches=fetches,
        )

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
            await together(self.group.run(), watch(self.group, self._settings.stuck_after), self._replace())
        finally:
            self._scorer.close()

    async def _replace(self) -> None:
        """Leave once too many calls have hung; what is in hand is finished and committed first, as at every end."""
        await self._worn_out.wait()
        raise Leave(EXIT_HUNG, f"{self._agent.name}: {self._scorer.hangs} calls never returned")

    async def _handle(self, batch: RecordBatch) -> None:
        """One batch of one partition: score and deliver it, in calls of `max_batch` at most."""
        memory: Memory = self._plain
        records = batch.records
        if self._snapshots is not None:
            fold = memory = await self._fold(records[0])
            records = [record for record in records if record.offset >= fold.offset]
        for part in _parts(records, self._agent.max_batch):
            await self._answer(batch.topic, part, memory)
        if self._snapshots is not None:
            fold.offset = max(fold.offset, batch.next_offset)
        if self._scorer.hangs >= MAX_HANGS:
            self._worn_out.set()

    async def _answer(self, topic: str, records: Sequence[Record], memory: Memory) -> None:
        name, hangs, started = self._agent.name, self._scorer.hangs, time.perf_counter()
        outcome = await self._processors[topic].process(records, memory)
        SCORING.labels(name).observe(time.perf_counter() - started)
        HANGS.labels(name).inc(self._scorer.hangs - hangs)
        BATCH.labels(name).observe(len(records))
        if records:
            LATENCY.labels(name).observe(max(0.0, outcome.at.timestamp() - records[0].timestamp_ms / 1000))
        await deliver(self._producer, outgoing(name, outcome))

    async def _fold(self, first: Record) -> Fold:
        """The state of the partition of `first`; restored when this is the first batch since it was assigned."""
        assert self._snapshots is not None  # noqa: S101 - only asked of a stateful agent
        fold = self._folds.get(first.partition)
        if fold is None:
            fold = self._folds[first.partition] = await self._snapshots.restore(first)
        return fold

    async def _save(self, offsets: Committable, last_chance: bool) -> Committable:
        """Deliver the snapshots that are due; only their partitions are committed, at exactly their offsets."""
        assert self._snapshots is not None  # noqa: S101 - only asked of a stateful agent
        due = {
            where: offset
            for where, offset in offsets.items()
            if last_chance or time.monotonic() - self._folds[where.partition].saved_at >= EVERY.total_seconds()
        }
        for where in due:
            await self._snapshots.save(where.partition, self._folds[where.partition])
        return due

    async def _forget(self, partitions: frozenset[TopicPartition]) -> None:  # noqa: ARG002 - a rebalance revokes all
        self._folds.clear()


def _snapshots(
    agent: Agent, decoders: dict[str, Decoder[AnyEvent]], scorer: Scorer, producer: Producer, settings: Settings
) -> Snapshots | None:
    if agent.state is None:
        return None
    if len(decoders) != 1:
        raise ConfigurationError(f"agent {agent.name} keeps state, so it must consume one topic, not {len(decoders)}")
    (decoder,) = decoders.values()
    return Snapshots(agent, agent.state, decoder, scorer, producer, settings.kafka or "")


def _parts(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    return (records[start : start + size] for start in range(0, len(records), size))
