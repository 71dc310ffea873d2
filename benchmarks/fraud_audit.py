"""After a run, every transaction's fate: predicted and decided once, and how long it took, read from the topics themselves.

The generator numbers its transactions from 0, so a count per number (a byte) says what is lost and what came twice, and
millions are kept in a few megabytes.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from msgspec import Struct
from numpy.typing import NDArray

from app.settings import Settings
from benchmarks.fraud_parts import ANSWERS, SOURCES, VERDICTS, ids_in

Starts = Mapping[TopicPartition, int]


class Fate(Struct, frozen=True):
    """Of one kind of record: how many of the transactions have none, and how many have more than one."""

    lost: int
    doubled: int


class Audit(Struct, frozen=True):
    """What became of a run.

    Attributes:
        sent: transactions found on the topics, each counted once.
        latency_ms: from the timestamp of the transaction to that of its decision: p50, p99, the worst; empty when nothing
            was decided.
    """

    sent: int
    resent: int
    predicted: Fate
    decided: Fate
    latency_ms: tuple[float, ...]

    @property
    def whole(self) -> bool:
        return not (self.predicted.lost or self.predicted.doubled or self.decided.lost or self.decided.doubled)


async def audit(settings: Settings, run: str, made: int, since: Starts) -> Audit:
    """Read the topics from `since` to their ends.

    Args:
        settings: of the brokers.
        run: of the generator: other runs' records on the same topics are passed over.
        made: how many transactions it made.
        since: where the run's first records lie, or before.
    """
    sent, sent_at = await _seen(settings, run, made, SOURCES, since)
    predicted, _ = await _seen(settings, run, made, [ANSWERS], since)
    decided, decided_at = await _seen(settings, run, made, [VERDICTS], since)
    both = (sent > 0) & (decided > 0)
    latency = (decided_at - sent_at)[both]
    figures = (*np.percentile(latency, [50, 99]).tolist(), float(latency.max())) if len(latency) else ()
    return Audit(
        sent=int((sent > 0).sum()),
        resent=_doubled(sent),
        predicted=Fate(int((predicted == 0).sum()), _doubled(predicted)),
        decided=Fate(int((decided == 0).sum()), _doubled(decided)),
        latency_ms=figures,
    )


def _doubled(counts: NDArray[np.uint8]) -> int:
    return int((counts > 1).sum())


async def _seen(
    settings: Settings, run: str, made: int, topics: Sequence[str], since: Starts
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """By number: how often it is there (255 at most), and the timestamp of the first, in milliseconds since 1970."""
    counts, first = np.zeros(made, np.uint8), np.full(made, np.iinfo(np.int64).max)
    of_run = re.compile(rb'"%b-(\d{12})"' % run.encode())
    async for found_here in records(settings, topics, since):
        found = [(of_run.findall(ids_in(record.value or b"")), record.timestamp) for record in found_here]
        numbers = np.array([number for ids, _ in found for number in ids], "S12").astype(np.int64)
        stamps = np.repeat([stamp for _, stamp in found], [len(ids) for ids, _ in found])
        np.add.at(counts, numbers, (counts[numbers] < 255).astype(np.uint8))
        np.minimum.at(first, numbers, stamps)
    return counts, first


async def records(
    settings: Settings, topics: Sequence[str], since: Starts
) -> AsyncIterator[Sequence[ConsumerRecord[bytes, bytes]]]:
    """What lies on these topics between `since` and their ends as of now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20
    )
    await consumer.start()
    try:
        places = [place for place in since if place.topic in topics]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, since[place])
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for found in (await consumer.getmany(timeout_ms=500)).values():
                yield found
    finally:
        await consumer.stop()
