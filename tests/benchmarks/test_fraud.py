"""The audit and the figures of the fraud benchmark: a loss, a double and a growing lag must show."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from app import topic_admin
from app.bus import KafkaProducer, Outgoing
from app.codec import Record
from app.predictions import PredictionBatch
from app.settings import Settings
from benchmarks import fraud_held
from benchmarks.fraud_audit import Audit, Fate, audit
from benchmarks.fraud_backlog import OURS, Drained, ratios
from benchmarks.fraud_kill import Killed
from benchmarks.fraud_parts import ANSWERS, SOURCES, VERDICTS, ends_of, rows_since
from benchmarks.fraud_show import sparkline
from benchmarks.fraud_sustained import Load, Sample, growth
from simulator.wire import transaction_id


async def _audit(settings: Settings, run: str, predicted: Iterable[int], decided: Iterable[int]) -> Audit:
    """Of a run of ten transactions, after these predictions and decisions, and those of another run."""
    await topic_admin.ensure(settings)
    producer = KafkaProducer(settings.kafka or "")
    async with ends_of(settings) as ends:
        since = await ends.places([*SOURCES, ANSWERS, VERDICTS])
    for topic, numbers in ((SOURCES[0], range(10)), (ANSWERS, predicted), (VERDICTS, decided)):
        for name in (run, f"{run}x"):
            values = [json.dumps({"event_id": ids}, separators=(",", ":")) for ids in _ids(topic, name, list(numbers))]
            await producer.send([Outgoing(topic, b"k", value.encode()) for value in values])
    await producer.close()
    return await audit(settings, run, 10, since)


def _ids(topic: str, run: str, numbers: Sequence[int]) -> list[object]:
    """One to a record, of transactions; of others in columns of three."""
    ids = [transaction_id(run, n) for n in numbers]
    return list(ids) if topic in SOURCES else [ids[at : at + 3] for at in range(0, len(ids), 3)]


async def test_rows_are_counted_as_they_come(settings: Settings) -> None:
    await topic_admin.ensure(settings)
    producer, value = KafkaProducer(settings.kafka or ""), b'{"type":"t","event_id":["a","b:c"],"value":["x"]}'
    async with ends_of(settings) as ends, rows_since(settings, await ends.places([ANSWERS, VERDICTS])) as rows:
        assert (await rows.count())[ANSWERS] == 0
        await producer.send([Outgoing(ANSWERS, None, value), Outgoing(ANSWERS, None, b'{"event_id":"single"}')])
        await producer.send([Outgoing(VERDICTS, None, value), Outgoing(VERDICTS, None, b'{"event_id":[]}')])
        found = await rows.count()
    await producer.close()
    assert (found[ANSWERS], found[VERDICTS]) == (3, 2)


async def test_a_whole_run_is_whole(settings: Settings, namespace: str) -> None:
    found = await _audit(settings, namespace, range(10), range(10))
    assert found.whole
    assert (found.sent, found.resent) == (10, 0)
    assert len(found.latency_ms) == 3
    assert 0 <= found.latency_ms[0] <= found.latency_ms[2]


async def test_what_is_lost_or_doubled_is_counted(settings: Settings, namespace: str) -> None:
    found = await _audit(settings, namespace, [0, 1, 1, 1, *range(3, 10)], [*range(9), 5, 6])
    assert not found.whole
    assert found.predicted == Fate(lost=1, doubled=1)
    assert found.decided == Fate(lost=1, doubled=2)


async def test_without_any_decision_there_is_no_latency(settings: Settings, namespace: str) -> None:
    found = await _audit(settings, namespace, [], [])
    assert (found.latency_ms, found.decided) == ((), Fate(lost=10, doubled=0))


def test_what_is_held_costs_something() -> None:
    spent_s, kept = fraud_held.run(1, 0.1)
    assert spent_s > 0
    assert kept == sum(
        sum(value > 0.5 for value in _values(record)) for record in next(fraud_held.batches(1, 0.1)).records
    )


def _values(record: Record) -> list[float]:
    return msgspec.json.decode(record.value or b"", type=PredictionBatch).value


def test_a_lag_that_grows_is_seen_and_one_that_swings_is_not() -> None:
    falling = [Sample(t, 1000 * t, 100 * t, 200 * t) for t in range(1, 21)]
    swinging = [Sample(t, 1000 * t, 0, 500 + 400 * (t % 2)) for t in range(1, 41)]
    assert growth(falling) == pytest.approx(200)
    assert abs(growth(swinging)) < 10
    assert growth(falling[:2]) == 0.0


def test_the_next_run_begins_after_the_last_one_in_event_time() -> None:
    start = datetime(2023, 1, 2, tzinfo=UTC)
    load = Load(rate=65_000, seconds=60, within_s=1, start=start, warm_up_s=10)
    assert load.end - start >= timedelta(days=0.65 * 70)
    assert load.end.hour == 0


def test_the_ceiling_is_the_faster_of_the_raw_ones() -> None:
    rates = {OURS: 90, "raw: confluent-kafka": 80, "raw: aiokafka": 100, "plain faust": 2, "quixstreams, per record": 5}
    found = [Drained(name, events=rate, seconds=1.0, cpu_s=1.0) for name, rate in rates.items()]
    told = ratios([*found, Drained("quixstreams, batching sink", note="failed")])
    assert {name: ratio.rate for name, ratio in told.items()} == {
        "raw ceiling": 0.9,
        "plain faust": 45.0,
        "quixstreams, per record": 18.0,
    }
    assert told["plain faust"].cpu == pytest.approx(2 / 90)
    assert ratios([Drained(OURS, note="failed"), *found[1:]]) == {}


def test_a_run_with_kills_is_whole_when_nothing_is_lost_and_the_state_is_the_same() -> None:
    again = Audit(10, 0, Fate(0, 4), Fate(0, 2), (1.0, 2.0, 3.0))
    assert Killed(10, ["agent"], again, 4000, 0).whole
    assert not Killed(10, ["agent"], again, 4000, 1).whole
    assert not Killed(10, ["agent"], again, 3999, 0).whole
    assert not Killed(10, ["agent"], Audit(10, 0, Fate(1, 0), Fate(0, 0), ()), 4000, 0).whole


def test_a_sparkline_of_nothing_is_empty() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
