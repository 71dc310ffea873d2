"""The generator on the real broker: everything arrives once, in order per card, at the rate it was asked for or it says so."""

import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app import topic_admin
from app.bus import partition_of
from app.codec import Decoder
from app.errors import ConfigurationError
from app.events import AnyTransaction, FraudReported, TransactionMade
from app.settings import Settings
from app.topics import CHARGEBACKS, TRANSACTIONS
from simulator.flow import Count, Flow
from simulator.surge import Surge, days_per_s, surge

START = datetime(2026, 3, 2, tzinfo=UTC)
decoder: Decoder[AnyTransaction] = Decoder(AnyTransaction)


def test_each_card_keeps_its_two_transactions_a_day_unless_a_speed_is_told() -> None:
    assert days_per_s(65_000, 50_000, None) == 0.65
    assert days_per_s(65_000, 50_000, 86_400) == 1.0


def test_more_processes_than_cards_are_refused(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="--users 1"):
        surge(Flow("r", START, 10, 1, 1), 1, 2, settings, lambda counts: None)


async def test_what_is_sent_arrives_once_in_order_and_frauds_are_reported(settings: Settings, namespace: str) -> None:
    await topic_admin.ensure(settings)
    began_ms, shown = time.time() * 1000, list[float]()
    flow = Flow(namespace, START, rate=2000, days_per_s=10, seconds=2, seed=3)
    found = surge(flow, 500, 2, settings, lambda counts: shown.append(counts[Count.made]))
    assert (found.made, found.processes) == (4000, 2)
    assert found.delivered == found.made + found.reported
    assert found.reported > 0
    assert shown[-1] == 4000
    assert found.rate <= 2000 * 1.05  # open loop: late on a busy machine, never ahead

    records = await _records(settings, namespace)
    events = [decoder.decode(record.value) for record in records]
    made = {event.event_id: event for event in events if isinstance(event, TransactionMade)}
    reports = [event for event in events if isinstance(event, FraudReported)]
    assert sorted(made) == [f"{namespace}-{number:012d}" for number in range(4000)]
    assert len(reports) == found.reported
    for report in reports:
        assert report.at - made[report.subject_id].at == timedelta(days=7)
    for record, event in zip(records, events, strict=True):
        assert record.topic == (CHARGEBACKS if isinstance(event, FraudReported) else TRANSACTIONS[event.source]).name
        assert record.key == event.card_id.encode()
        assert record.partition == partition_of(record.key, settings.partitions)
        assert began_ms <= record.timestamp <= time.time() * 1000
    _in_order(records, events)


def test_a_generator_that_fell_behind_did_not_do_what_it_was_asked_for() -> None:
    punctual = Surge("r", 100, 1, 101, 1.0, 100.0, 0.1, 0.0, 0, 0.1, 1)
    late = Surge("r", 100, 1, 101, 3.0, 33.0, 2.0, 0.9, 0, 0.1, 1)
    lossy = Surge("r", 100, 1, 100, 1.0, 100.0, 0.1, 0.0, 0, 0.1, 1)
    assert [each.whole for each in (punctual, late, lossy)] == [True, False, False]


def _in_order(records: list[object], events: list[AnyTransaction]) -> None:
    """Of each card, as each topic has them."""
    by_card = defaultdict(list)
    for record, event in zip(records, events, strict=True):
        by_card[record.topic, event.card_id].append((record.offset, event.at))
    for placed in by_card.values():
        assert [at for _, at in sorted(placed)] == sorted(at for _, at in placed)


async def _records(settings: Settings, run: str) -> list[object]:
    """All of this run's: other tests write to the same topics."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        topics = [*TRANSACTIONS.values(), CHARGEBACKS]
        places = [TopicPartition(topic.name, n) for topic in topics for n in range(settings.partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends, found = await consumer.end_offsets(places), []
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [record for record in records if run.encode() in record.value]
        return found
    finally:
        await consumer.stop()
