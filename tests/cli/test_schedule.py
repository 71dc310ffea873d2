"""`millrace schedule`, `millrace score` and `millrace simulate --customers`, as somebody types them."""

import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.errors import ConfigurationError
from cli.main import app
from cli.schedule import stopped_by_signals

Run = Callable[..., Result]
AS_OF = ("--as-of", "2026-06-01T00:00Z")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, env={"MILLRACE_DATA_DIR": str(tmp_path), "COLUMNS": "200"})

    return invoke


@pytest.fixture
def filled(run: Run) -> Run:
    made = run("simulate", "--customers", "--count", "300", "--start", "2026-01-01", "--json")
    assert json.loads(made.stdout)["customers"] == 300
    return run


def test_a_run_is_done_once_and_again_when_asked(filled: Run) -> None:
    first = filled("score", "churn", *AS_OF, "--top", "3")
    assert first.exit_code == 0
    assert "done: " in first.stdout
    assert "because" in first.stdout
    once = json.loads(filled("score", "churn", *AS_OF, "--json").stdout)
    assert (once["state"], once["attempt"], once["scheduled"]) == ("done", 1, False)
    assert once["scored"] + once["problems"] == once["subjects"] > 100
    assert "already at" in filled("score", "churn", *AS_OF, "--top", "0").stdout
    assert json.loads(filled("score", "churn", *AS_OF, "--again", "--json").stdout)["attempt"] == 2
    (listed,) = (json.loads(line) for line in filled("schedule", "history", "--json").stdout.splitlines())
    assert listed["attempt"] == 2
    assert "by hand" in filled("schedule", "history").stdout


def test_nobody_to_score_is_no_error(run: Run) -> None:
    assert "done: 0 scored" in run("score", "churn", *AS_OF).stdout


def test_a_run_that_fails_says_why_and_exits_with_1(filled: Run, tmp_path: Path) -> None:
    failed = CliRunner().invoke(
        app,
        ["score", "churn", *AS_OF],
        env={"MILLRACE_DATA_DIR": str(tmp_path), "MILLRACE_REGISTRY": str(tmp_path / "none"), "COLUMNS": "200"},
    )
    assert failed.exit_code == 1
    assert "millrace train churn" in failed.stdout.replace("\n", " ")


@pytest.mark.parametrize("words", [["score", "churn", *AS_OF], ["schedule", "--once"]])
def test_in_a_database_that_was_named_a_job_creates_nothing(tmp_path: Path, words: list[str]) -> None:
    theirs = tmp_path / "far" / "theirs.db"
    environment = {"MILLRACE_DATA_DIR": str(tmp_path), "MILLRACE_CUSTOMERS": f"sqlite:///{theirs}", "COLUMNS": "200"}
    failed = CliRunner().invoke(app, words, env=environment)
    assert str(failed.exception) == f"MILLRACE_CUSTOMERS: there is no file {theirs}"
    assert not theirs.parent.exists()
    theirs.parent.mkdir()
    sqlite3.connect(theirs).close()
    theirs.touch()
    failed = CliRunner().invoke(app, words, env=environment)
    assert isinstance(failed.exception, ConfigurationError)
    assert str(failed.exception) == "MILLRACE_CUSTOMERS: the database has no table customers"
    assert theirs.stat().st_size in {0, 4096}  # SQLite's own first page


def test_a_database_of_customers_that_is_away_is_named_and_asked_again(filled: Run, tmp_path: Path) -> None:
    def schedule(cron: str, **environment: str) -> Result:
        own = {"MILLRACE_DATA_DIR": str(tmp_path), "COLUMNS": "200", **environment}
        return CliRunner().invoke(app, ["schedule", "--once", "--cron", cron, "--catch-up", "all"], env=own)

    schedule("0 0 1 1 *")
    book = sqlite3.connect(tmp_path / "millrace.db")
    book.execute("UPDATE schedules SET settled_until = ?", ("2020-06-01 00:00:00.000000",))
    book.commit()
    away = schedule("0 0 1 1 *", MILLRACE_CUSTOMERS="postgresql+psycopg://u:secret@127.0.0.1:1/customers")
    assert away.exit_code == 1
    assert "waiting: database: MILLRACE_CUSTOMERS: " in away.stdout
    assert "secret" not in away.stdout


def test_lists_when_jobs_are_due(run: Run) -> None:
    listed = run("schedule", "list", "--next", "2").stdout
    assert "churn" in listed
    assert listed.count("06:00Z") == 2
    assert "0 0 1 1 *" in run("schedule", "--cron", "0 0 1 1 *", "list").stdout


def test_a_scheduler_of_a_new_job_begins_with_its_next_due_time(run: Run) -> None:
    done = run("schedule", "--once", "--job", "churn", "--cron", "monthly", "--zone", "Asia/Tokyo")
    assert (done.exit_code, done.stdout) == (0, "nothing is due\n")


def test_a_signal_interrupts_nothing_and_the_second_ends_at_once() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = stopped_by_signals()
        signal.raise_signal(signal.SIGTERM)  # an exception here might come within a call to the database
        assert stop.is_set()
        assert {signal.getsignal(number) for number in before} == {signal.SIG_DFL}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score", "weather"], "no job 'weather'; there are: churn"),
        (["score", "churn", "--as-of", "2026-06-01T00:00"], "say in which zone"),
        (["score", "churn", "--as-of", "soon"], "ISO 8601"),
        (["score", "churn", "--as-of", "2126-06-01T00:00Z"], "future"),
        (["score", "churn", "--as-of", "0001-01-01T00:00+05:00"], "beyond the calendar"),
        (["schedule", "history", "--job", "weather"], "no job 'weather'"),
        (["schedule", "--job", "churn", "history"], "come after its name"),
        (["schedule", "--cron", "daily daily", "list"], "five fields"),
        (["schedule", "--once", "--cron", "61 * * * *"], "bad minute"),
        (["schedule", "--once", "--zone", "Atlantis"], "Atlantis"),
        (["simulate", "--customers", "--from", "nowhere.csv"], "nowhere.csv"),
        (["simulate", "--customers", "--start", "2126-01-01"], "some past"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, arguments: list[str], said: str) -> None:
    error = run(*arguments).exception
    assert isinstance(error, ConfigurationError)
    assert said in str(error)
