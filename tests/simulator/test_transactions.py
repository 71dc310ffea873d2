"""Made-up and recorded transactions as events: in order, each fraud reported a week later."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.events import FraudReported, TransactionMade
from simulator.bank import Bank
from simulator.errors import UnreadableRecording
from simulator.recorded_transactions import RecordedTransactions
from simulator.scenario import Options, Scenario
from simulator.transactions import transactions

START = datetime(2026, 3, 2, 15, 30, tzinfo=UTC)
WEEK = timedelta(days=7)


def test_ids_are_unique_and_time_goes_forward() -> None:
    births = list(islice(transactions(Bank(50), run="r", start=START, rate=10, speed=3600, seed=1, seconds=None), 2000))
    made = [birth.life[0] for birth in births]
    assert len({event.event_id for event in made}) == len(made)
    assert all(a.at <= b.at for a, b in pairwise(made))
    assert [birth.due_s for birth in births] == sorted(birth.due_s for birth in births)
    assert births[-1].due_s == pytest.approx(200, rel=0.2)  # 2,000 at 10 a second


def test_a_fraud_is_reported_a_week_later_unless_the_run_is_over_by_then() -> None:
    def lives(seconds: float | None) -> list[tuple[object, ...]]:
        births = transactions(Bank(50), run="r", start=START, rate=10, speed=86_400, seed=1, seconds=seconds)
        return [tuple(birth.life) for birth in islice(births, 2000)]

    reports = [life[1] for life in lives(None) if len(life) > 1]
    assert reports
    for made, report in (life for life in lives(None) if len(life) > 1):
        assert isinstance(made, TransactionMade)
        assert isinstance(report, FraudReported)
        assert (report.at - made.at, report.made_at) == (WEEK, made.at)
        assert report.event_id != made.event_id
        assert (report.transaction_id, report.card_id, report.amount_usd) == (
            made.transaction_id,
            made.card_id,
            made.amount_usd,
        )
    assert not any(len(life) > 1 for life in lives(7.0))


def test_banks_that_begin_at_other_numbers_share_no_card_and_no_terminal() -> None:
    plans = [
        list(Scenario(Options("r", START, what="transactions", users=50, count=300, first=first)).plan())
        for first in (0, 1000)
    ]
    near, far = ({(p.event.card_id, p.event.terminal_id) for p in plan} for plan in plans)
    assert len(near) == len(far)
    assert {f"{name[:-8]}{int(name[-8:]) + 1000:08}" for pair in near for name in pair} == {n for p in far for n in p}


def test_the_plan_brings_reports_after_the_delay() -> None:
    scenario = Scenario(Options("r", START, what="transactions", rate=10, speed=86_400, users=50, count=1500))
    planned = list(scenario.plan())
    made = {p.event.event_id: p for p in planned if isinstance(p.event, TransactionMade)}
    reports = [p for p in planned if isinstance(p.event, FraudReported)]
    assert len(made) == 1500
    assert reports
    for report in reports:
        assert report.due_s - made[report.event.subject_id].due_s == pytest.approx(7.0, abs=1e-3)
    assert {event.event.user_id for event in planned} <= set(scenario.users)


def recording(path: Path, **changes: object) -> Path:
    rows = {
        "TRANSACTION_ID": [0, 1, 2],
        "TX_DATETIME": [datetime.fromisoformat(f"2018-04-0{day}") for day in (3, 1, 2)],
        "CUSTOMER_ID": [5, 6, 7],
        "TERMINAL_ID": [1, 2, 3],
        "TX_AMOUNT": [10.0, 20.125, 30.0],
        "TX_FRAUD": [0, 1, 0],
    }
    pq.write_table(pa.table({**rows, **changes}), path)
    return path


def test_a_recording_is_replayed_in_order_of_time_with_its_frauds_reported(tmp_path: Path) -> None:
    recorded = RecordedTransactions(recording(tmp_path / "t.parquet"), "r")
    lives = list(recorded.lives())
    assert [life[0].event_id for life in lives] == [f"r-{n:012d}" for n in (1, 2, 0)]
    assert [len(life) for life in lives] == [2, 1, 1]
    assert lives[0][1].at == datetime(2018, 4, 8, tzinfo=UTC)
    assert recorded.holders == ["holder-00000005", "holder-00000006", "holder-00000007"]
    assert len(recorded) == 3


def test_bad_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    path = recording(tmp_path / "t.parquet", TX_AMOUNT=[float("nan"), -1.0, 30.0], CUSTOMER_ID=[5, 6, None])
    recorded = RecordedTransactions(path, "r")
    assert list(recorded.lives()) == []
    assert recorded.skipped.total() == 3
    assert recorded.holders == ["holder-00000005", "holder-00000006"]


def test_what_is_no_such_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UnreadableRecording, match="no column CUSTOMER_ID"):
        RecordedTransactions(path, "r")


def test_the_handbooks_own_table_can_be_replayed(datasets: Path) -> None:
    recorded = RecordedTransactions(datasets / "fraud" / "handbook_simulated.parquet", "r")
    births = (life for life in islice(recorded.lives(), 20_000))
    events = [event for life in births for event in life]
    assert sum(isinstance(event, FraudReported) for event in events) == pytest.approx(20, abs=19)
    assert not recorded.skipped
    assert len(recorded.holders) == 4990
