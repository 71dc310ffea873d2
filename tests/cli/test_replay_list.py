"""`millrace replay --list`, as it looks on a narrow terminal and to a script."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from app.modes.replay.book import Advance, Book, Cut
from app.modes.replay.plan import Chosen, Part, Plan, Rows, Span, TopicRange
from app.sql.replays import Replays
from cli.main import app
from cli.replay_list import SHOWN, show

LONG = "duration-cost-20261122-015823-471d"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"MILLRACE_DATA_DIR": str(tmp_path), "MILLRACE_DATABASE": f"sqlite:///{tmp_path / 'store.db'}"}


@pytest.fixture
def replays(environment: dict[str, str]) -> Iterator[Replays]:
    replays = Replays.open(environment["MILLRACE_DATABASE"])
    yield replays
    replays.close()


def begin(replays: Replays, run: str, plan: Plan, passed: int, size: int = 2_000_000) -> None:
    book, chosen = Book(replays, run), plan.chosen[0]
    book.begin(plan, [Cut(chosen, "usd", Span((Part("f", 0, 0, 0, size),)))])
    lane = book.claim()
    assert lane is not None
    with book.entering(lane, Advance(passed, passed, 0)):
        pass
    book.release(lane)
    book.finish()


def test_two_lines_a_run_on_80_columns(replays: Replays) -> None:
    both = (Chosen("duration", "1"), Chosen("cost", "12"))
    since = TopicRange("rides", datetime(2023, 2, 1, tzinfo=UTC))
    begin(replays, "whole", Plan(chosen=both[1:], source=since), 2_000_000)
    query = Rows("sql", "SELECT a[1]\nFROM rides ORDER BY event_id, and so on and on")
    begin(replays, "asked", Plan(chosen=both[1:], source=query, target="topic"), 1)
    begin(replays, LONG, Plan(chosen=both, source=Rows("table", "/x/rides.parquet"), question="diff"), 81_920)
    screen = StringIO()
    show(replays, Console(file=screen, width=80), as_json=False)
    head, *lines, last = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert head.split() == ["run", "state", "records", "begun,", "UTC"]
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split()[:3] == [LONG, "stopped", "81,920"]
    assert lines[1].split()[-2:] == ["of", "2,000,000"]
    wide = StringIO()
    show(replays, Console(file=wide, width=120), as_json=False)
    assert "duration 1, cost 12: rides.parquet → diff  " in wide.getvalue()
    assert "cost 12: SELECT a[1] FROM rides ORDER BY event_i… → topic  " in wide.getvalue()
    assert "cost 12: rides from 2023-02-01T00:00Z → store  " in wide.getvalue()
    assert last == "one that is stopped goes on with: millrace replay --run NAME"


def test_a_script_gets_all_and_a_person_a_screenful(replays: Replays, environment: dict[str, str]) -> None:
    nothing = CliRunner().invoke(app, ["replay", "--list"], env=environment)
    assert (nothing.exit_code, nothing.stdout) == (0, "no replay was begun here yet\n")
    for number in range(SHOWN + 2):
        begin(replays, f"r{number}", Plan(chosen=(Chosen("cost", "1"),), source=TopicRange()), number % 2, 1)
    told = CliRunner().invoke(app, ["replay", "--list", "--json"], env=environment)
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert [row["run"] for row in rows] == [f"r{number}" for number in reversed(range(SHOWN + 2))]
    assert (rows[0]["state"], rows[0]["resume"], rows[1]["resume"]) == ("done", None, "millrace replay --run r20")
    shown = CliRunner().invoke(app, ["replay", "--list"], env=environment).stdout
    assert "and 2 older ones: --json lists all" in shown
    assert "r2 " in shown
    assert "r1 " not in shown


def test_nothing_else_is_asked_beside_it(environment: dict[str, str]) -> None:
    refused = CliRunner().invoke(app, ["replay", "--list", "--agent", "cost", "--resume"], env=environment)
    assert str(refused.exception).startswith("--agent, --resume: means nothing beside --list")
