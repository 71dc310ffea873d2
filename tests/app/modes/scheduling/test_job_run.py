"""One run: what cannot be scored says why, what is not whole is not seen, and an older worker changes nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from app.jobs.job import Job
from app.registry import Registry
from app.sql.engine import engine_for
from app.sql.run_schema import metadata, problems, staging_metadata
from app.sql.runs import Run, Runs
from app.testing import Clock
from tests.app.modes import jobs
from tests.app.modes.jobs import DAY, MONDAY


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    return jobs.registry(tmp_path / "models")


def work(runs: Runs, source: Engine, models: Registry, job: Job = jobs.doubles, *, again: bool = False) -> Run:
    """One run by hand, as of Monday."""
    runs.ask(job.name, MONDAY, again=again)
    claimed = runs.claim(job.name, MONDAY, job.retries)
    assert claimed is not None
    ended = jobs.scheduler(runs, source, models, Clock(MONDAY), job).work(job, claimed)
    source.dispose()
    return ended


def reasons(runs: Runs) -> dict[str, str]:
    with runs.engine.connect() as connection:
        query = select(problems.c.subject_id, problems.c.problem).where(problems.c.as_of == MONDAY)
        return {row.subject_id: row.problem for row in connection.execute(query)}


def test_every_subject_ends_with_a_score_or_a_reason(database: str, runs: Runs, models: Registry) -> None:
    values = [float(row) for row in range(20, 55)]
    values[3], values[11], values[12], values[34] = None, 13.0, 900.0, float("inf")  # type: ignore[call-overload]
    ended = work(runs, jobs.source(database, values), models)
    assert (ended.state, ended.scored, ended.problems) == ("done", 31, 4)
    assert reasons(runs) == {
        "n003": "there is no number",
        "n011": "ArithmeticError: 13 is not doubled",
        "n012": "the model answered 1800 number",
        "n034": "the model answered inf number",
    }
    assert set(jobs.scores(runs, MONDAY)) == {f"n{row:03}" for row in range(35)} - set(reasons(runs))


def test_a_value_the_driver_cannot_read_costs_its_subject_alone(tmp_path: Path, models: Registry) -> None:
    database = f"sqlite:///{tmp_path / 'numbers.db'}"  # PostgreSQL takes no such value in the first place
    runs, source = Runs.open(database), jobs.source(database, [1.0, 2.0, 3.0])
    with source.begin() as connection:
        connection.execute(text("UPDATE numbers SET number = 'two' WHERE id = 'n001'"))
    ended = work(runs, source, models)
    assert (ended.state, jobs.scores(runs, MONDAY)) == ("done", {"n000": 2.0, "n002": 6.0})
    assert "two" in reasons(runs)["n001"]
    runs.close()


def test_nobody_to_score_is_a_run_that_is_done(database: str, runs: Runs, models: Registry) -> None:
    ended = work(runs, jobs.source(database, []), models)
    assert (ended.state, ended.subjects, ended.scored, ended.problems) == ("done", 0, 0, 0)


def test_what_is_wrong_with_all_is_wrong_with_the_run(database: str, runs: Runs, models: Registry) -> None:
    ended = work(runs, jobs.source(database, [13.0] * 25), models)
    assert (ended.state, ended.attempt) == ("waiting", 1)
    assert "none of the first 10" in (ended.error or "")
    assert "13 is not doubled" in (ended.error or "")
    assert reasons(runs) == {}


def test_a_run_done_again_replaces_the_old_rows_at_once(database: str, runs: Runs, models: Registry) -> None:
    source = jobs.source(database, [float(row) for row in range(35)])
    seen: list[int] = []
    job = jobs.variant(lambda: seen.append(len(jobs.scores(runs, MONDAY))))
    assert work(runs, source, models, job).problems == 1
    with source.begin() as connection:
        connection.execute(text("UPDATE numbers SET number = 40 WHERE id = 'n013'"))
        connection.execute(text("DELETE FROM numbers WHERE id = 'n001'"))
    seen.clear()
    assert work(runs, source, models, job, again=True).problems == 0
    assert set(seen) == {34}  # the old ones, whole, all the time
    assert len(jobs.scores(runs, MONDAY)) == 34
    assert jobs.scores(runs, MONDAY)["n013"] == 80.0
    assert reasons(runs) == {}


def test_another_as_of_time_leaves_the_first_alone(database: str, runs: Runs, models: Registry) -> None:
    source = jobs.source(database, [1.0])
    work(runs, source, models)
    runs.ask("doubles", MONDAY - DAY, again=False)
    claimed = runs.claim("doubles", MONDAY, 0)
    assert claimed is not None
    jobs.scheduler(runs, source, models, Clock(MONDAY)).work(jobs.doubles, claimed)
    assert jobs.scores(runs, MONDAY) == jobs.scores(runs, MONDAY - DAY) == {"n000": 2.0}


def test_a_worker_that_was_taken_for_dead_publishes_nothing(database: str, models: Registry) -> None:
    """To another, whose clock is an hour ahead, its lease is over, and the run is taken over in the middle of it."""
    slow = Runs.open(database)
    quick = Runs(slow.engine, wall=lambda: datetime.now(UTC) + timedelta(hours=1))
    source = jobs.source(database, [float(row) for row in range(20, 45)])
    taken: list[Run] = []

    def overtake() -> None:
        if not taken:
            claimed = quick.claim("doubles", MONDAY, 3)
            assert claimed is not None
            taken.append(claimed)

    ended = work(slow, source, models, jobs.variant(overtake))
    assert (ended.state, ended.attempt, ended.worker) == ("running", 2, quick.worker)
    assert jobs.scores(quick, MONDAY) == {}
    done = jobs.scheduler(quick, source, models, Clock(MONDAY)).work(jobs.doubles, taken[0])
    assert (done.state, len(jobs.scores(quick, MONDAY))) == ("done", 25)
    for each in (metadata, staging_metadata, jobs.SCORES.metadata, jobs.numbers.metadata):
        each.drop_all(quick.engine)
    slow.close()


def test_a_run_that_is_stopped_is_given_back(database: str, runs: Runs, models: Registry) -> None:
    def stop() -> None:
        raise SystemExit

    source = jobs.source(database, [1.0])
    with pytest.raises(SystemExit):
        work(runs, source, models, jobs.variant(stop))
    given = runs.get("doubles", MONDAY)
    assert given is not None
    assert (given.state, given.tries, given.error) == ("waiting", 0, None)
    assert [row.outcome for row in runs.attempts("doubles", MONDAY)] == ["waiting"]
    source.dispose()


def test_a_worker_that_is_lost_each_time_is_given_up(database: str) -> None:
    runs = Runs.open(database, timedelta(0))
    runs.ask("doubles", MONDAY, again=False)
    for attempt in (1, 2, 3):
        claimed = runs.claim("doubles", MONDAY, retries=2)
        assert claimed is not None
        assert claimed.attempt == attempt
    assert runs.claim("doubles", MONDAY, retries=2) is None
    given = runs.get("doubles", MONDAY)
    assert given is not None
    assert (given.state, given.error) == ("failed", "its worker was lost, and there are no retries left")
    assert [row.outcome for row in runs.attempts("doubles", MONDAY)] == ["lost"] * 3
    metadata.drop_all(runs.engine)
    runs.close()


def test_a_source_that_is_away_is_no_fault_of_the_subjects(tmp_path: Path, models: Registry, runs: Runs) -> None:
    (tmp_path / "broken").write_bytes(b"this is no database" * 100)
    ended = work(runs, engine_for(f"sqlite:///{tmp_path / 'broken'}"), models)
    assert (ended.state, ended.attempt) == ("waiting", 1)
    assert "not a database" in (ended.error or "")


def test_a_table_of_the_source_that_is_gone_is_told_in_a_sentence(tmp_path: Path, models: Registry, runs: Runs) -> None:
    """Not with the whole statement and the ids of a chunk."""
    path = tmp_path / "numbers.db"
    engine = jobs.source(f"sqlite:///{path}", [1.0, 2.0])
    gone = jobs.variant(lambda: None, extract=text("SELECT id, number FROM gone"))
    ended = work(runs, engine, models, gone)
    assert (ended.state, ended.error) == ("waiting", f"database: MILLRACE_CUSTOMERS ({path}): no such table: gone")
