"""What another version would have changed, from rows alone."""

import random
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.decisions import Decision, Figure
from app.sql.whatif import ENOUGH, ErrorKey, Loss, Replayed, Report, Then
from app.testing import START

NEW_YORK = ZoneInfo("America/New_York")
AT_US = round(START.timestamp() * 1e6)


def judge(_kind: object, figures: object) -> str:
    assert isinstance(figures, dict)
    return "confirm" if figures["risk"].value >= 0.5 else "quote"


def row(value: float, number: int = 0, stage: str = "initial", zone: int | None = 74) -> Replayed:
    return Replayed("u", f"e{number}", f"r{number}", stage, value, AT_US + number * 3_600_000_000, zone, None)  # type: ignore[arg-type]


def decision(action: str, value: float, number: int = 0) -> Decision:
    return Decision(
        decision_id=f"e{number}.0",
        event_id=f"e{number}",
        subject_id=f"r{number}",
        user_id="u",
        kind="ride",
        event_at=START,
        at=START,
        action=action,  # type: ignore[arg-type]
        reasons=(),
        predictions=(Figure(model="risk", version="1", value=value, unit="probability"),),
    )


@pytest.fixture
def report() -> Report:
    return Report("risk", "2", "probability", judge, NEW_YORK)


def test_a_decision_flips_when_the_candidates_figure_says_otherwise(report: Report) -> None:
    assert report.add(row(0.4), Then(0.3, decision("quote", 0.3))) is None
    flip = report.add(row(0.6, 1), Then(0.3, decision("quote", 0.3, 1)))
    assert flip is not None
    assert (flip.was, flip.would_be, flip.value_then) == ("quote", "confirm", 0.3)
    assert (report.decided, report.flipped, report.drifted) == (2, 1, 0)
    assert {actions: spread.n for actions, spread in report.actions.items()} == {
        ("quote", "quote"): 1,
        ("quote", "confirm"): 1,
    }


def test_a_policy_that_has_changed_since_is_told_apart(report: Report) -> None:
    """Decided `quote` though the figure of then calls for `confirm` today: the candidate is not to blame."""
    report.add(row(0.8), Then(0.7, decision("quote", 0.7)))
    assert (report.flipped, report.drifted) == (1, 1)


def test_a_correction_decides_nothing(report: Report) -> None:
    assert report.add(row(0.9, stage="correction"), Then(0.3, decision("quote", 0.3))) is None
    assert (report.predicted, report.answered, report.decided) == (1, 1, 0)


def test_slices_are_those_of_the_riders_clock(report: Report) -> None:
    report.add(row(0.4), Then(truth=1.0))
    assert set(report.errors) == {
        ErrorKey("initial", "all", ""),
        ErrorKey("initial", "zone", "74"),
        ErrorKey("initial", "hour", "03"),  # 08:30 UTC in February
        ErrorKey("initial", "week", "2023-W07"),
    }


def test_a_probability_is_judged_by_the_brier_score(report: Report) -> None:
    report.add(row(0.4), Then(truth=1.0))
    assert report.errors[ErrorKey("initial", "all", "")].now == pytest.approx(0.36)


def test_of_few_pairs_no_interval_is_given() -> None:
    loss = Loss()
    for _ in range(ENOUGH - 1):
        loss.add(1.0, 0.0, 2.0)
    assert loss.change is None
    loss.add(1.0, 0.0, 2.0)
    assert loss.change == (-1.0, -1.0, -1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """The candidate is better by 0.5 in the mean; 95 of 100 intervals hold that, give or take four standard errors."""
    rng, covered, trials = random.Random(7), 0, 400
    for _ in range(trials):
        loss = Loss()
        for _ in range(200):
            then = abs(rng.gauss(0, 1)) + 1.0
            loss.add(then - 0.5 + rng.uniform(-0.4, 0.4), 0.0, then)
        change = loss.change
        assert change is not None
        covered += change.low <= -0.5 <= change.high
    assert 0.95 - 4 * 0.011 < covered / trials < 0.95 + 4 * 0.011


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=30))
def test_means_are_those_of_the_rows(rows: list[tuple[float, float, float]]) -> None:
    loss = Loss()
    for value, truth, then in rows:
        loss.add(value, truth, then)
    assert loss.now == pytest.approx(sum(abs(value - truth) for value, truth, _ in rows) / len(rows), abs=1e-9)
    assert loss.then == pytest.approx(sum(abs(then - truth) for _, truth, then in rows) / len(rows), abs=1e-9)
    assert loss.rmse >= loss.now - 1e-9


def test_spans_the_event_times(report: Report) -> None:
    for number in (3, 1, 2):
        report.add(row(0.1, number), Then())
    assert report.first_us == AT_US + round(timedelta(hours=1).total_seconds() * 1e6)
    assert report.last_us == AT_US + round(timedelta(hours=3).total_seconds() * 1e6)
