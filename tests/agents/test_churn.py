"""The churn job: its features by hand, its offers and reasons, and the whole of it on CDNOW, on the schedule."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, func, insert, select, text

from agents.jobs._history import COLUMNS, purchase_features
from agents.jobs._offers import CONTROL, LEAST_GAIN_USD, OFFERS, choose, in_control
from agents.jobs._reasons import reasons
from agents.jobs.churn import OFFERS as OFFERS_TABLE
from agents.jobs.churn import SCORES, churn, why_unknown, worth
from app import agent
from app.jobs import job
from app.jobs.customers import customers, metadata, open_customers, purchases
from app.jobs.job import History
from app.modes.schedule import Scheduler
from app.registry import Registry, shipped_root
from app.sql.run_schema import metadata as run_metadata
from app.sql.run_schema import problems, staging_metadata
from app.sql.runs import Runs
from app.testing import Clock
from simulator.customers import load_log
from training.recipes.churn import CDNOW, HORIZON_DAYS, calibration_error

AS_OF = datetime(1997, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def bought(customer: str, *days_ago: float, usd: float = 30.0) -> list[tuple[object, ...]]:
    return [(customer, AS_OF - DAY * ago, 2, usd, True) for ago in sorted(days_ago, reverse=True)]


def seen(*days_ago: float, usd: float = 30.0) -> dict[str, float]:
    (row,) = purchase_features(History(["c"], bought("c", *days_ago, usd=usd), AS_OF))
    return dict(zip(COLUMNS, row.tolist(), strict=True))


def test_a_job_is_no_agent() -> None:
    assert job.names() == ["churn"]
    assert job.find("churn") is churn
    assert "jobs" not in agent.names()


def test_the_features_of_a_customer_who_came_four_times() -> None:
    found = seen(100, 70, 40, 10)
    assert found["silent_days"] == pytest.approx(10)
    assert (found["purchase_days"], found["items"], found["spend_usd"]) == (4, 8, 120)
    assert found["mean_gap_days"] == pytest.approx(30)
    assert found["silence_ratio"] == pytest.approx(1 / 3)
    assert found["silence_share"] == pytest.approx(0.1)
    assert found["activity"] == pytest.approx(sum(np.exp(-ago / 60) for ago in (100, 70, 40, 10)))
    assert found["usd_per_day"] == pytest.approx(120 / 130)


def test_two_purchases_on_one_day_are_one_visit_and_no_gap() -> None:
    found = seen(50.1, 50.2)
    assert (found["purchase_days"], found["items"]) == (1, 4)
    assert np.isnan(found["mean_gap_days"])
    assert np.isnan(found["silence_ratio"])


def test_a_customer_does_not_depend_on_who_else_is_in_the_batch() -> None:
    rows = {"a": bought("a", 3, 90), "b": [], "c": bought("c", 12.5, 13, 170, usd=0.1)}
    together = purchase_features(History(list(rows), [row for of in rows.values() for row in of], AS_OF))
    alone = [purchase_features(History([name], of, AS_OF))[0] for name, of in rows.items()]
    np.testing.assert_array_equal(together, np.array(alone))
    assert np.isnan(together[1]).all()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("c", None, None, None, True)], "nothing yet"),
        ([("c", AS_OF - DAY, 1, float("nan"), True)], "1997-06-30"),
        ([("c", AS_OF - DAY, 1, float("inf"), True)], "1997-06-30"),
        (bought("c", 2, 1, usd=1.7e308), "no number"),
    ],
)
def test_who_cannot_be_scored_is_told_why(rows: list[tuple[object, ...]], said: str) -> None:
    assert np.isnan(purchase_features(History(["c"], rows, AS_OF))).all()
    assert said in why_unknown(rows)


def test_worth_is_an_order_at_the_least() -> None:
    features = np.vstack(
        [purchase_features(History(["c"], bought("c", *ago), AS_OF)) for ago in ((170,), (3, 6, 9, 12))]
    )
    assert worth(features).tolist() == pytest.approx([30.0, 120 / 42 * 90])


@given(risk=st.floats(0, 1), value=st.floats(0, 1e4), customer=st.text("0123456789", min_size=1, max_size=8))
def test_an_offer_gains_what_it_says_or_is_not_made(risk: float, value: float, customer: str) -> None:
    choice = choose(customer, risk, value)
    if choice is None:
        return
    assert choice.gain_usd >= LEAST_GAIN_USD
    assert choice.offer in {CONTROL} | {offer.name for offer in OFFERS}
    assert (choice.offer == CONTROL) == in_control(customer)
    assert (choice.cost_usd == 0) == (choice.offer == CONTROL)


def test_one_in_ten_is_in_the_control_group_and_stays_there() -> None:
    drawn = [in_control(f"{number:05}") for number in range(5000)]
    assert 0.085 < np.mean(drawn) < 0.115
    assert drawn == [in_control(f"{number:05}") for number in range(5000)]


def test_reasons_are_in_order_and_say_what_was_seen() -> None:
    (row,) = purchase_features(History(["c"], bought("c", 100, 99, 98), AS_OF))
    added = np.zeros(len(COLUMNS))
    added[COLUMNS.index("silent_days")], added[COLUMNS.index("silence_share")] = 0.3, 0.2
    added[COLUMNS.index("spend_usd")], added[COLUMNS.index("items")] = -0.4, 0.1
    first, second, third = reasons(row, added)
    assert first.words == "nothing bought for 98 days, 98.0 times the usual gap of 1 days"
    assert (first.log_odds, second.log_odds, third.log_odds) == pytest.approx((0.5, -0.4, 0.1))
    assert second.words == "spent $90 in all, $21 a month"


# The whole of it, on real purchases.


@pytest.fixture(scope="module")
def cdnow(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_customers(f"sqlite:///{tmp_path_factory.mktemp('cdnow') / 'customers.db'}")
    assert load_log(engine, datasets / CDNOW, lambda _: None) == (23_570, 56_902)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def runs(cdnow: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Scored by the schedule: the clock goes over six in the morning of 30 June and of 1 July 1997."""
    runs = Runs.open(f"sqlite:///{tmp_path_factory.mktemp('book') / 'millrace.db'}")
    clock = Clock(AS_OF - DAY)
    scheduler = Scheduler([churn], runs, cdnow, Registry(shipped_root()), clock)
    assert scheduler.tick() == []
    clock.advance(2 * 86_400)
    (run,) = scheduler.tick()
    assert (run.as_of, run.state, run.subjects, run.scored) == (AS_OF + DAY / 4, "done", 23_570, 23_570)
    assert [each.state for each in runs.history()] == ["done", "skipped"]
    yield runs
    runs.close()


def stayed(source: Engine) -> set[str]:
    query = select(purchases.c.customer_id).where(purchases.c.at >= AS_OF, purchases.c.at < AS_OF + DAY * HORIZON_DAYS)
    with source.connect() as connection:
        return set(connection.scalars(query))


def test_on_the_schedule_it_reaches_the_figures_of_its_card(cdnow: Engine, runs: Runs) -> None:
    """Scored as of 06:00 on 1 July, when no purchase of that day was known: the cut-off of 30 June."""
    with runs.engine.connect() as connection:
        rows = connection.execute(select(SCORES.c.subject_id, SCORES.c.value, SCORES.c.last_purchase_at)).all()
    came = stayed(cdnow)
    left = np.array([row.subject_id not in came for row in rows])
    risk = np.array([row.value for row in rows])
    silent = np.array([(AS_OF - row.last_purchase_at).total_seconds() for row in rows])
    found, rule = roc_auc_score(left, risk), roc_auc_score(left, silent)
    assert rule == pytest.approx(0.7248, abs=0.01)
    assert found > 0.745 > rule + 0.015
    assert calibration_error(left, risk) < 0.02
    (metric,) = (
        metric
        for metric in Registry(shipped_root()).load("churn").manifest["metrics"]
        if metric["name"] == "ROC AUC" and metric["split"].endswith("30 Jun")
    )
    assert found == pytest.approx(metric["value"], abs=0.005)


def test_the_marketing_team_reads_who_why_and_what_to_offer(runs: Runs) -> None:
    with runs.engine.connect() as connection:
        offered = connection.execute(
            select(OFFERS_TABLE.c.offer, func.count(), func.min(OFFERS_TABLE.c.gain_usd)).group_by(OFFERS_TABLE.c.offer)
        ).all()
        first = connection.execute(select(SCORES).order_by(SCORES.c.at_risk_usd.desc()).limit(1)).one()
    assert {name for name, _, _ in offered} == {CONTROL, *(offer.name for offer in OFFERS)}
    assert sum(count for _, count, _ in offered) < 23_570 / 4
    assert all(least >= LEAST_GAIN_USD for _, _, least in offered)
    assert "words" in first.reasons
    assert len(np.array(msgspec.json.decode(first.contributions))) == len(COLUMNS)


def test_contributions_add_up_to_the_score(cdnow: Engine, runs: Runs) -> None:
    """In log-odds: the difference of two customers' scores is the difference of their contributions."""
    with runs.engine.connect() as connection:
        rows = connection.execute(select(SCORES.c.value, SCORES.c.contributions).limit(500)).all()
    risk = np.array([row.value for row in rows])
    added = np.array([sum(msgspec.json.decode(row.contributions)) for row in rows])
    rest = np.log(risk / (1 - risk)) - added
    assert np.ptp(rest) < 0.002  # they are kept to five digits


def test_on_postgresql_what_is_poisoned_or_unknown_is_recorded(postgres: str) -> None:
    engine, runs = open_customers(postgres), Runs.open(postgres)
    joined = AS_OF - 100 * DAY
    people = [("ok", True), ("new", True), ("poison", True), ("silent", False)]
    sold = [("ok", 12.0), ("poison", float("nan")), ("silent", 900.0)]
    with engine.begin() as connection:
        connection.execute(
            insert(customers), [{"customer_id": name, "joined_at": joined, "may_contact": may} for name, may in people]
        )
        connection.execute(
            insert(purchases),
            [{"purchase_id": name, "customer_id": name, "at": joined, "quantity": 1, "usd": usd} for name, usd in sold],
        )
    runs.ask("churn", AS_OF, again=False)
    claimed = runs.claim("churn", AS_OF, 0)
    assert claimed is not None
    ended = Scheduler([churn], runs, engine, Registry(shipped_root()), Clock(AS_OF)).work(churn, claimed)
    assert (ended.state, ended.scored, ended.problems) == ("done", 2, 2)
    with runs.engine.connect() as connection:
        told = dict(connection.execute(select(problems.c.subject_id, problems.c.problem)).all())
        offered = set(connection.scalars(select(OFFERS_TABLE.c.subject_id)))
        scored = set(connection.scalars(text("SELECT subject_id FROM churn_scores")))
    assert told == {
        "new": "has bought nothing yet",
        "poison": "the purchase of 1997-03-23 has no number for quantity or usd",
    }
    assert scored == {"ok", "silent"}
    assert "silent" not in offered  # they may not be contacted
    for each in (run_metadata, staging_metadata, SCORES.metadata, OFFERS_TABLE.metadata, metadata):
        each.drop_all(engine)
    engine.dispose()
    runs.close()
