"""Kill -9 of the agent, of the broker and of the decision worker in mid-run; then every transaction's fate, and the state's.

The state is compared without looking into it: when all is quiet, a worker that was never disturbed has read the same topics
from their beginning. Then both are asked about the same transactions, a probe of many cards, and must give the same bits.
"""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct

from app.bus import KafkaProducer
from app.codec import Decoder
from app.events import TransactionMade
from app.predictions import PredictionBatch
from app.settings import Settings
from app.testing import outgoing
from app.topics import TRANSACTIONS
from benchmarks.fraud_audit import Audit, audit, records
from benchmarks.fraud_parts import (
    ANSWERS,
    SOURCES,
    VERDICTS,
    Child,
    Ends,
    broker,
    caught_up,
    children,
    decision,
    ends_of,
    joined,
    rows_since,
    worker,
)
from benchmarks.fraud_sustained import CARDS, GROUPS, Load, drained, generator, told
from simulator.bank import MOST_TERMINALS
from simulator.wire import card_id, holder_id, terminal_id

DAYS = 7.8
"""Event time of the whole run. The agent counts what is up to eight days late: with more, it would depend on how far the
three topics drift apart during an outage which transactions are counted at all. After seven days frauds are reported."""

PROBES = 4_000
PATIENCE_S = 120.0
_WORKERS = 2


class Killed(Struct, frozen=True):
    """What came of it.

    Attributes:
        kills: who was killed, in order.
        probes: transactions both workers were asked about; `differing` of them got different values.
    """

    made: int
    kills: list[str]
    audit: Audit
    probes: int
    differing: int

    @property
    def whole(self) -> bool:
        """Nothing lost, and the state is that of an undisturbed run."""
        fate = self.audit
        return not (fate.predicted.lost or fate.decided.lost or self.differing) and self.probes == PROBES


async def kill(settings: Settings, load: Load, run: str) -> Killed:
    """Run it. Raises `SystemNotReady` when a part does not start, or does not come back."""
    load = msgspec.structs.replace(load, speed=DAYS * 86_400 / load.seconds)
    with children(settings, agent=worker(load.within_s), decision=decision()) as parts:
        await joined(settings, parts, GROUPS)
        async with ends_of(settings) as ends:
            since = await ends.places([*SOURCES, ANSWERS, VERDICTS])
            with children(settings, generator=generator(load, run, load.seconds, load.start)) as more:
                sending = more["generator"]
                await _flowing(ends, since, sending)
                keeping = asyncio.create_task(_keep_alive(parts))
                try:
                    kills = await _hurt(settings, load, parts, sending)
                    made = int(told(sending)["made"])
                    return await _found(settings, load, run, made, kills, since)
                finally:
                    keeping.cancel()


async def _found(
    settings: Settings, load: Load, run: str, made: int, kills: list[str], since: Mapping[TopicPartition, int]
) -> Killed:
    """Every transaction's fate, and what the probe says of the state."""
    async with ends_of(settings) as ends:  # of a broker that is back
        await drained(settings, ends)
        fate = await audit(settings, run, made, since)
        values = await _probe(settings, load, ends)
    both = [pair for pair in values.values() if len(pair) == _WORKERS]
    return Killed(made, kills, fate, len(both), sum(len(set(pair.values())) > 1 for pair in both))


async def _keep_alive(parts: Mapping[str, Child]) -> None:
    """What a supervisor does."""
    while True:
        for part in parts.values():
            part.again()
        await asyncio.sleep(0.2)


async def _flowing(ends: Ends, since: Mapping[TopicPartition, int], sending: Child) -> None:
    """Wait until transactions arrive: what is killed before that proves nothing."""
    before = sum(offset for place, offset in since.items() if place.topic in SOURCES)
    while await ends.count(*SOURCES) == before and sending.pid() is not None:  # noqa: ASYNC110 - a topic
        await asyncio.sleep(0.05)


async def _hurt(settings: Settings, load: Load, parts: Mapping[str, Child], sending: Child) -> list[str]:
    """Kill somebody in each quarter of the load, until all of it is sent. Who was killed."""
    victims = {"agent": parts["agent"].pid, "broker": broker(settings), "decision": parts["decision"].pid}
    order, kills, began = ("agent", "broker", "agent", "decision"), list[str](), time.monotonic()
    while sending.pid() is not None:
        await asyncio.sleep(0.05)
        due_s = (len(kills) + 0.7) / (len(order) + 0.7) * load.seconds
        if len(kills) < len(order) and time.monotonic() - began > due_s and (pid := victims[order[len(kills)]]()):
            os.kill(pid, signal.SIGKILL)
            kills.append(order[len(kills)])
    return kills


async def _probe(settings: Settings, load: Load, ends: Ends) -> dict[str, dict[str, float]]:
    """What the worker that was disturbed and one that was not say of the same transactions: event id -> worker -> value."""
    name, before = f"fraud-{uuid.uuid4().hex[:8]}", await ends.places([ANSWERS])
    with children(settings, undisturbed=worker(load.within_s, name)) as parts:
        await joined(settings, parts, [f"millrace.{name}"])
        deadline = time.monotonic() + PATIENCE_S
        async with rows_since(settings, before) as rows:
            while (await rows.count())[ANSWERS] < await ends.count(*SOURCES) and time.monotonic() < deadline:  # noqa: ASYNC110 - a topic
                await asyncio.sleep(0.2)
        await caught_up(settings, ends, f"millrace.{name}")
        since, ids = await ends.places([ANSWERS]), await _ask(settings, load)
        while True:
            values = await _answers(settings, since, ids)
            if all(len(pair) == _WORKERS for pair in values.values()) or time.monotonic() > deadline:
                return values
            await asyncio.sleep(0.5)


async def _ask(settings: Settings, load: Load) -> list[str]:
    """Send the probe: transactions of cards and terminals drawn at random, after everything else in event time."""
    rng, producer = Random(load.seed), KafkaProducer(settings.kafka or "")
    topic, at = TRANSACTIONS["pos"].name, load.start + timedelta(days=DAYS)
    events = [
        TransactionMade(
            event_id=(name := f"probe-{load.seed}-{number:012d}"),
            transaction_id=name,
            user_id=holder_id(card),
            card_id=card_id(card),
            terminal_id=terminal_id(rng.randrange(MOST_TERMINALS)),
            at=at,
            source="pos",
            amount_usd=rng.randrange(1, 30_000) / 100,
        )
        for number, card in enumerate(rng.sample(range(CARDS), PROBES))
    ]
    try:
        await producer.send([outgoing(event, topic) for event in events])
    finally:
        await producer.close()
    return [event.event_id for event in events]


async def _answers(
    settings: Settings, since: Mapping[TopicPartition, int], ids: Sequence[str]
) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {event_id: {} for event_id in ids}
    decoder: Decoder[PredictionBatch] = Decoder(PredictionBatch)
    async for found in records(settings, [ANSWERS], since):
        for said in (decoder.decode(record.value) for record in found):
            for event_id, value in zip(said.event_id, said.value, strict=True):
                if event_id in values:
                    values[event_id][said.model] = value
    return values
