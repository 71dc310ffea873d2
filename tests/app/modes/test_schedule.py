"""The scheduler on SQLite and on PostgreSQL: what is due is done once, whoever is there, whatever happens to them."""

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from app.errors import ConfigurationError, ServiceUnavailable
from app.modes.schedule import FIRST_PAUSE, LONGEST_PAUSE, Scheduler, pause
from app.registry import Registry
from app.sql.runs import Run, Runs
from app.testing import Clock
from tests.app.modes import jobs
from tests.app.modes.jobs import DAY, MONDAY

ROOT = Path(__file__).parents[3]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def source(runs: Runs, database: str) -> Iterator[Engine]:
    engine = jobs.source(database, [float(row) for row in range(20, 55)])
    yield engine
    engine.dispose()


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    return jobs.registry(tmp_path / "models")


@pytest.fixture
def clock() -> Clock:
    return Clock(MONDAY - timedelta(hours=1))


@pytest.fixture
def scheduler(runs: Runs, source: Engine, models: Registry, clock: Clock) -> Scheduler:
    return jobs.scheduler(runs, source, models, clock)


@pytest.fixture
def start(database: str, runs: Runs, source: Engine, models: Registry) -> Iterator[Start]:
    """Starts a scheduler as a process of its own; those that are left are killed."""
    started: list[subprocess.Popen[str]] = []

    def run(now: datetime, lease_s: float, catch_up: str, *more: str) -> subprocess.Popen[str]:
        arguments = (database, database, str(models.root), now.isoformat(), str(lease_s), catch_up, *more)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.app.modes.job_worker", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def days(count: int) -> timedelta:
    return timedelta(days=count)


def states(runs: Runs) -> list[tuple[datetime, str]]:
    return [(run.as_of, run.state) for run in reversed(runs.history())]


def test_nothing_is_due_before_its_time_and_once_at_it(scheduler: Scheduler, clock: Clock, runs: Runs) -> None:
    assert scheduler.tick() == []
    clock.advance(3600)
    (run,) = scheduler.tick()
    assert (run.as_of, run.state, run.scored, run.problems) == (MONDAY, "done", 35, 0)
    assert (run.subjects, run.reached, run.version, run.scheduled) == (35, 35, "1", True)
    assert jobs.scores(runs, MONDAY) == {f"n{row:03}": 2.0 * (20 + row) for row in range(35)}
    assert scheduler.tick() == []
    clock.advance(days(1).total_seconds())
    assert [run.as_of for run in scheduler.tick()] == [MONDAY + DAY]
    assert jobs.scores(runs, MONDAY) == jobs.scores(runs, MONDAY + DAY)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("all", ["done", "done", "done", "done"]),
        ("latest", ["skipped", "skipped", "skipped", "done"]),
        ("none", ["skipped", "skipped", "skipped", "skipped"]),
    ],
)
def test_runs_missed_are_made_up_for_as_configured(
    scheduler: Scheduler, clock: Clock, runs: Runs, policy: str, wanted: list[str]
) -> None:
    scheduler.jobs = [replace(jobs.doubles, catch_up=policy)]
    scheduler.tick()
    clock.advance(days(3).total_seconds() + 7200)
    assert len(scheduler.tick()) == wanted.count("done")
    assert states(runs) == [(MONDAY + days(number), state) for number, state in enumerate(wanted)]
    clock.advance(days(1).total_seconds() - 3600 + 1)  # a second after the next one is due: nobody has missed that
    assert [run.as_of for run in scheduler.tick()] == [MONDAY + days(4)]


def test_years_of_hours_are_entered_in_parts(scheduler: Scheduler, clock: Clock, runs: Runs) -> None:
    scheduler.jobs = [replace(jobs.doubles, cron="hourly")]
    scheduler.tick()
    clock.advance(days(100).total_seconds())
    scheduler.enter(scheduler.jobs[0])
    found = runs.history(limit=5000)
    assert (len(found), [run.state for run in found].count("waiting")) == (2400, 1)


def test_a_job_keeps_its_time_of_day_when_the_clocks_change(scheduler: Scheduler, clock: Clock, runs: Runs) -> None:
    scheduler.clock = Clock(datetime(2026, 10, 23, 12, tzinfo=UTC))
    scheduler.jobs = [replace(jobs.doubles, cron="30 2 * * *", zone="Europe/Berlin", catch_up="all")]
    scheduler.tick()
    scheduler.clock.advance(days(3).total_seconds())
    hours = [f"{run.as_of:%d %H:%M}" for run in scheduler.tick()]
    assert hours == ["24 00:30", "25 00:30", "26 01:30"]  # 02:30 comes twice on the 25th


def test_a_failure_is_tried_again_with_growing_pauses_then_given_up(
    runs: Runs, source: Engine, models: Registry, clock: Clock
) -> None:
    asked = 0

    def fails() -> None:
        nonlocal asked
        asked += 1
        raise ServiceUnavailable("database", "gone fishing")

    scheduler = jobs.scheduler(runs, source, models, clock, jobs.variant(fails, retries=2))
    scheduler.tick()
    clock.advance(3600)
    pauses = []
    for attempt in (1, 2):
        (run,) = scheduler.tick()
        assert (run.state, run.attempt, run.error) == ("waiting", attempt, "database: gone fishing")
        pauses.append(run.due_at - clock())
        clock.advance((pauses[-1] - timedelta(seconds=1)).total_seconds())
        assert scheduler.tick() == []
        clock.advance(1)
    (run,) = scheduler.tick()
    assert (run.state, run.attempt, asked) == ("failed", 3, 3)
    assert FIRST_PAUSE / 2 <= pauses[0] <= FIRST_PAUSE < pauses[1]
    assert [row.outcome for row in runs.attempts("doubles", MONDAY)] == ["failed"] * 3
    assert jobs.scores(runs, MONDAY) == {}


def test_pauses_are_bounded() -> None:
    assert LONGEST_PAUSE / 2 <= pause(30, random.Random(1)) <= LONGEST_PAUSE


def test_a_run_that_failed_once_succeeds_later(runs: Runs, source: Engine, models: Registry, clock: Clock) -> None:
    down = [True]

    def sometimes() -> None:
        if down:
            raise ServiceUnavailable("database", "away")

    scheduler = jobs.scheduler(runs, source, models, clock, jobs.variant(sometimes))
    scheduler.tick()
    clock.advance(3600)
    assert [run.state for run in scheduler.tick()] == ["waiting"]
    down.clear()
    clock.advance(60)
    (run,) = scheduler.tick()
    assert (run.state, run.attempt, run.error, len(jobs.scores(runs, MONDAY))) == ("done", 2, None, 35)


def test_what_only_a_person_can_mend_is_not_tried_again(
    runs: Runs, source: Engine, tmp_path: Path, clock: Clock
) -> None:
    scheduler = jobs.scheduler(runs, source, Registry(tmp_path / "none"), clock)
    scheduler.tick()
    clock.advance(3600)
    (run,) = scheduler.tick()
    assert (run.state, run.attempt) == ("failed", 1)
    assert "millrace train doubles" in (run.error or "")


def test_a_schedule_that_cannot_be_honoured_is_an_error_at_once(scheduler: Scheduler) -> None:
    scheduler.jobs = [replace(jobs.doubles, zone="Atlantis")]
    with pytest.raises(ConfigurationError, match="Atlantis"):
        scheduler.tick()


def test_a_scheduler_told_to_end_gives_its_run_back_after_the_chunk_in_hand(
    runs: Runs, source: Engine, models: Registry, clock: Clock
) -> None:
    stop, told = threading.Event(), list[Run]()
    chunks = itertools.count()

    def during() -> None:
        next(chunks)
        stop.set()

    scheduler = jobs.scheduler(runs, source, models, clock, jobs.variant(during))
    scheduler.tick()
    clock.advance(3600)
    scheduler.loop(stop, told.append)
    (given_back,) = runs.history("doubles", 5)
    assert (given_back.state, given_back.tries, next(chunks)) == ("waiting", 0, 1)
    assert told == []
    jobs.scheduler(runs, source, models, clock).tick()
    assert len(jobs.scores(runs, MONDAY)) == 35


def test_several_schedulers_do_each_run_once_and_never_two_at_a_time(runs: Runs, start: Start) -> None:
    runs.settled_until("doubles", MONDAY - DAY)
    processes = [start(MONDAY + days(4), 30, "all") for _ in range(3)]
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    done = sorted(line for out, _ in told for line in out.splitlines())
    left = [run for run in runs.history() if run.state != "done"]
    # Whoever found the job busy went home; somebody stayed until there was nothing left.
    assert (len(done), left) == (5, [])
    spans = sorted(
        (row.started_at, row.ended_at) for number in range(5) for row in runs.attempts("doubles", MONDAY + days(number))
    )
    assert len(spans) == 5
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_a_run_whose_worker_is_killed_is_taken_over_and_ends_the_same(
    runs: Runs, scheduler: Scheduler, clock: Clock, start: Start
) -> None:
    runs.settled_until("doubles", MONDAY - timedelta(hours=1))
    victim = start(MONDAY, 5, "latest", "3")
    assert victim.stdout is not None
    assert victim.stdout.readline() == "working\n"
    clock.advance(3600)
    assert scheduler.tick() == []  # it is alive, and its lease is renewed
    assert jobs.scores(runs, MONDAY) == {}
    with runs.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM number_scores_staging")).scalar_one() == 20
    victim.kill()
    deadline = time.monotonic() + 60
    while not (taken := scheduler.tick()):
        assert time.monotonic() < deadline
    assert [(run.state, run.attempt, run.scored) for run in taken] == [("done", 2, 35)]
    assert [row.outcome for row in runs.attempts("doubles", MONDAY)] == ["lost", "done"]
    assert jobs.scores(runs, MONDAY) == {f"n{row:03}": 2.0 * (20 + row) for row in range(35)}
    with runs.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM number_scores_staging")).scalar_one() == 0
