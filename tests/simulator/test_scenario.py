from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.events import OPENING
from simulator.scenario import Options, Scenario, What

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(("what", "kinds"), [("rides", {"ride"}), ("uploads", {"upload"}), ("all", {"ride", "upload"})])
def test_what_is_asked_for_is_sent_by_the_users_named_beforehand(what: What, kinds: set[str]) -> None:
    scenario = Scenario(Options("x", NOW, what, rate=50.0, count=40, users=5))
    plan = [planned.event for planned in scenario.plan()]
    assert {event.kind for event in plan} == kinds
    assert {event.user_id for event in plan} <= set(scenario.users)
    assert len({event.subject_id for event in plan}) == scenario.total == 40


def test_two_runs_differ_in_their_ids_only() -> None:
    def sent(run: str, seed: int) -> list[tuple[float, str, str]]:
        plan = islice(Scenario(Options(run, NOW, seed=seed)).plan(), 300)
        return [(p.due_s, p.event.event_id.replace(f"-{run}-", "-"), p.event.user_id) for p in plan]

    assert sent("one", 1) == sent("two", 1)
    assert sent("one", 1) != sent("one", 2)


def test_no_ride_begins_after_the_end_but_those_that_run_are_told_to_theirs() -> None:
    plan = list(Scenario(Options("x", NOW, "rides", rate=10.0, speed=60.0, seconds=5.0)).plan())
    assert all(planned.due_s < 5.0 for planned in plan if isinstance(planned.event, OPENING))
    assert plan[-1].due_s > 5.0
    ends = Counter(type(planned.event).__name__ for planned in plan)
    assert ends["RideCompleted"] > 0.8 * ends["RideRequested"]


def test_a_recording_of_neither_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"neither \.parquet nor \.csv"):
        Scenario(Options("x", NOW, source=Path("somewhere.xlsx")))
