"""`millrace replay`, as somebody types it: files, questions, bad words, and a kill -9 in the middle."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from app.decisions import Decision, Figure
from app.errors import MillraceError
from app.events import RideCompleted
from app.modes.replay.book import Book
from app.predictions import Prediction
from app.registry import Registry, shipped_root
from app.sql.journal import Journal
from app.sql.ledger import Answer, Case, Entry, Made, Position
from app.sql.replay_schema import lanes, replayed
from app.sql.replays import Replays
from cli.main import app
from decision.policy import CONFIRM_AT, judge

AT = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
RIDES, MANY = 400, 16_000


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models, and a second version of `cancellation` with the first ten trees."""
    root = tmp_path_factory.mktemp("registry") / "models"
    shutil.copytree(shipped_root(), root)
    registry = Registry(root)
    artifact = registry.load("cancellation")
    files = {f.name: f.read_bytes() for f in artifact.directory.iterdir() if f.suffix not in (".json", ".md")}
    booster = lightgbm.Booster(model_file=str(artifact.path("model.txt")))
    files["model.txt"] = booster.model_to_string(num_iteration=10).encode()
    registry.register("cancellation", files, artifact.manifest, artifact.card())
    return root


@pytest.fixture
def environment(registry: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "MILLRACE_REGISTRY": str(registry),
        "MILLRACE_DATA_DIR": str(tmp_path / "data"),
        "MILLRACE_DATABASE": f"sqlite:///{tmp_path / 'store.db'}",
        "MILLRACE_KAFKA": "127.0.0.1:9",
    }


@pytest.fixture
def replays(environment: dict[str, str]) -> Iterator[Replays]:
    replays = Replays.open(environment["MILLRACE_DATABASE"])
    yield replays
    replays.close()


Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(app, ["replay", "--eager", *words], env=environment)

    return invoke


def write(path: Path, count: int) -> Path:
    rng = random.Random(7)
    asked = [AT + timedelta(minutes=13 * n % 20_011) for n in range(count)]
    columns: dict[str, Any] = {
        "event_id": [f"e{n}" for n in range(count)],
        "user_id": [f"u{n % 50}" for n in range(count)],
        "ride_id": [f"r{n}" for n in range(count)],
        "at": pa.array(asked, pa.timestamp("us", "UTC")),
        "pickup_at": pa.array(
            [at + timedelta(hours=2) for at in asked], pa.timestamp("us", "UTC")
        ),  # some are in doubt
        "pickup.zone": [rng.randint(1, 263) for _ in range(count)],
        "dropoff.zone": [rng.randint(1, 263) for _ in range(count)],
        "channel": ["street"] * count,
    }
    pq.write_table(pa.table(columns), path)
    return path


def kept(replays: Replays, run: str) -> list[tuple[Any, ...]]:
    columns = [column for column in replayed.columns if column.name not in ("lane", "input")]
    query = select(lanes.c.model, lanes.c.version, *columns).join(lanes, lanes.c.lane == replayed.c.lane)
    with replays.connected() as connection:
        return sorted(tuple(row) for row in connection.execute(query.where(lanes.c.run == run)))


def decided(replays: Replays, run: str, journal: Journal) -> None:
    """What the live system would have written down of these answers, the truth included."""
    for number, (_, _, _, offset, user, event, subject, _, value, *_) in enumerate(kept(replays, run)):
        figure = Figure(model="cancellation", version="1", value=value, unit="probability")
        common: dict[str, Any] = {"event_id": event, "subject_id": subject, "user_id": user, "kind": "ride"}
        verdict = judge("ride", {"cancellation": figure})
        decision = Decision(
            decision_id=f"{event}.0", event_at=AT, at=AT, predictions=(figure,), **common, **verdict._asdict()
        )
        prediction = Prediction(
            model="cancellation", version="1", value=value, unit="probability", topic="rides", partition=0,
            offset=offset, event_at=AT, at=AT, latency_ms=1.0, **common
        )  # fmt: skip
        case = Case(event_at=AT, position=Position("rides", 0, offset, 0), seen_at=AT, revision=0, **common)
        truth = RideCompleted(
            event_id=f"c{number}", user_id=user, ride_id=subject, at=AT, duration_min=10.0, fare_usd=9.0
        )
        entry = Entry(AT, {case.event_key: case}, [Answer(prediction, 0, number)], [Made(decision, 0)], [truth])
        journal.save(entry)


def test_a_file_to_the_store_and_again_by_name(run: Run, replays: Replays, tmp_path: Path) -> None:
    path = write(tmp_path / "rides.parquet", RIDES)
    words = ("--agent", "cost,cancellation", "--file", str(path), "--run", "first")
    assert "400 predictions" not in (first := run(*words)).output
    assert (first.exit_code, len(kept(replays, "first"))) == (0, 2 * RIDES)
    assert run(*words).exit_code == run("--run", "first").exit_code == 0
    assert len(kept(replays, "first")) == 2 * RIDES


def test_what_could_not_be_answered_is_told_by_cause(run: Run, tmp_path: Path) -> None:
    rows = pq.read_table(write(tmp_path / "rides.parquet", RIDES)).to_pylist()
    for row in rows[3:8]:
        row["user_id"] = None
    rows[9]["channel"] = "pigeon"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "bad.parquet")
    words = ("--agent", "cost", "--file", str(tmp_path / "bad.parquet"), "--run", "bad")
    text = run(*words).output
    assert (
        "cost: 5 failed, the first at bad.parquet/0@3: invalid_message: Object missing required field `user_id`" in text
    )
    assert "cost: 1 failed, the first at bad.parquet/0@9: invalid_message: channel: " in text
    told = json.loads(run("--run", "bad", "--json").stdout)
    assert [(each["records"], each["offset"]) for each in told["failures"]] == [(5, 3), (1, 9)]


def test_a_directory_is_of_one_run_which_goes_on_by_its_name(run: Run, tmp_path: Path) -> None:
    path, answers = write(tmp_path / "rides.parquet", RIDES), tmp_path / "answers"
    words = ("--agent", "cost", "--file", str(path), "--target", "parquet", "--into", str(answers), "--run")
    assert run(*words, "one").exit_code == run(*words, "one").exit_code == 0
    refused = run(*words, "two")
    assert f"--into {answers}" in str(refused.exception)
    assert pq.read_table(answers).num_rows == RIDES


def test_a_run_that_fails_says_how_to_go_on(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rides.parquet"
    pq.write_table(pq.read_table(write(path, MANY)), path, row_group_size=MANY // 4)
    whole, torn = path.read_bytes(), pq.read_metadata(path).row_group(3).column(0).data_page_offset
    path.write_bytes(whole[:torn] + bytes(100) + whole[torn + 100 :])
    failed = run("--agent", "cost", "--file", str(path), "--run", "torn")
    assert isinstance(failed.exception, MillraceError)
    assert "rides.parquet: rows from 8,192 on cannot be read" in str(failed.exception)
    assert "\n" not in str(failed.exception)
    assert "go on with: millrace replay --run torn" in failed.output
    path.write_bytes(whole)
    assert f"{MANY:,} predictions" in run("--run", "torn").output
    assert run("--run", "unheard-of").output == ""


def test_a_run_whose_source_or_target_is_no_good_is_not_begun(run: Run, replays: Replays, tmp_path: Path) -> None:
    good, naive, taken = write(tmp_path / "rides.parquet", RIDES), tmp_path / "naive.parquet", tmp_path / "taken"
    pq.write_table(pa.table({"at": pa.array([AT.replace(tzinfo=None)], pa.timestamp("us"))}), naive)
    taken.touch()
    unreadable = "SELECT a FROM nowhere ORDER BY 1"
    for words, said in (
        (["--file", str(naive)], "time zone"),
        (["--sql", unreadable], "no such table: nowhere"),
        (["--file", str(good), "--target", "parquet", "--into", str(taken)], f"--into {taken}: "),
        (["--file", str(good), "--target", "parquet", "--into", str(taken / "deep")], f"--into {taken / 'deep'}: "),
    ):
        refused = run("--agent", "cost", *words, "--run", "never")
        assert isinstance(refused.exception, MillraceError)
        assert said in str(refused.exception)
        assert "go on with" not in refused.output
        assert Book(replays, "never").plan() is None


def test_an_empty_range_is_told_as_one(run: Run, tmp_path: Path) -> None:
    words = ("--file", str(write(tmp_path / "none.parquet", 0)))
    for asked in (("--agent", "cost"), ("--agent", "cancellation", "--diff", "2"), ("--agent", "tip", "--backfill")):
        told = run(*asked, *words)
        assert told.exit_code == 0
        assert "there is nothing in this range" in told.output


def test_what_another_version_would_have_changed(
    run: Run, replays: Replays, environment: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path / "rides.parquet", RIDES)
    run("--agent", "cancellation", "--version", "1", "--file", str(path), "--run", "live")
    journal = Journal.open(environment["MILLRACE_DATABASE"])
    decided(replays, "live", journal)
    journal.close()
    told = run("--agent", "cancellation", "--diff", "2", "--file", str(path), "--run", "whatif", "--json")
    (report,) = json.loads(told.stdout)["reports"]
    then = {row[5]: row[8] for row in kept(replays, "live")}
    now = {row[5]: row[8] for row in kept(replays, "whatif")}
    flips = [event for event in then if (then[event] >= CONFIRM_AT) != (now[event] >= CONFIRM_AT)]
    assert (report["version"], report["decided"], report["flipped"]) == ("2", RIDES, len(flips))
    assert {flip["event_id"] for flip in report["flips"]} == set(flips)
    assert flips
    (whole,) = [row for row in report["errors"] if row["slice"] == "all"]
    assert whole["then"] == pytest.approx(sum(value**2 for value in then.values()) / RIDES)
    assert whole["now"] == pytest.approx(sum(value**2 for value in now.values()) / RIDES)
    assert whole["change"] == pytest.approx(whole["now"] - whole["then"])
    assert whole["low"] <= whole["change"] <= whole["high"]
    assert {row["slice"] for row in report["errors"]} == {"all", "zone", "hour", "week"}
    text = run("--run", "whatif").output
    assert f"{len(flips)} decisions would be others" in text


def test_a_new_agent_is_shown_beside_what_was_decided(
    run: Run, replays: Replays, environment: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path / "rides.parquet", RIDES)
    run("--agent", "cancellation", "--version", "1", "--file", str(path), "--run", "live")
    journal = Journal.open(environment["MILLRACE_DATABASE"])
    decided(replays, "live", journal)
    journal.close()
    told = run("--agent", "tip", "--backfill", "--file", str(path), "--run", "tip", "--json")
    (report,) = json.loads(told.stdout)["reports"]
    assert (report["predicted"], report["answered"], report["decided"], report["flipped"]) == (RIDES, 0, RIDES, 0)
    assert sum(row["n"] for row in report["actions"]) == RIDES
    assert all(
        row["was"] == row["would_be"] and row["least"] <= row["mean"] <= row["most"] for row in report["actions"]
    )


def test_the_months_of_the_tlc(run: Run, replays: Replays, datasets: Path) -> None:
    path = datasets / "rides" / "green_tripdata_2023-02.parquet"
    month = pq.read_table(path).slice(0, 500)
    short = Path(str(replays.engine.url.database)).with_name("green_tripdata_2023-02.parquet")
    pq.write_table(month, short)
    assert run("--agent", "duration", "--file", str(short), "--run", "tlc").exit_code == 0
    assert 400 < len(kept(replays, "tlc")) <= 500
    stray = run("--agent", "duration", "--file", str(short), "--events", "RideCompleted")
    assert str(stray.exception).startswith("--events: means nothing beside a month of the TLC")
    assert "spam does not read" in str(run("--agent", "spam", "--file", str(short)).exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--agent"),
        (["--agent", "nobody"], "no agent 'nobody'"),
        (["--agent", "cost", "--version", "99"], "no version 99"),
        (["--agent", "cost,tip", "--diff", "2"], "one agent"),
        (["--agent", "cost", "--from", "yesterday"], "--from"),
        (["--agent", "cost", "--from", "2023-02-01"], "needs an offset"),
        (["--agent", "cost", "--offsets", "5"], "--offsets"),
        (["--agent", "cost", "--target", "parquet"], "--into"),
        (["--agent", "cost", "--file", "x.parquet", "--from", "2023-02-01T00:00Z"], "--topic, --from"),
        (["--agent", "cost", "--diff", "1", "--target", "topic"], "--target is store"),
        (["--agent", "cost,spam", "--file", "rides.csv"], "--events"),
        (["--agent", "cost", "--sql", "SELECT 1"], "ORDER BY"),
        (["--agent", "cost", "--verify", "--file", "rides.csv"], "--verify"),
        (["--resume"], "no run that was begun"),
        (["--run", "a b"], "--run"),
        (["--run", "unheard-of"], "no such run"),
        (["--run", "one", "--resume"], "--run: means nothing beside --resume"),
        (["--agent", " , "], "--agent"),
        (["--agent", "cost", "--from", "0001-01-01T00:00+05:00"], "--from"),
        (["--agent", "cost", "--to", "1960-01-01T00:00Z"], "before 1970"),
        (["--agent", "cost", "--events", "RideRequested"], "--events"),
        (["--agent", "cost", "--against", "store"], "--against"),
        (["--agent", "cost", "--diff", "1", "--version", "1"], "--version"),
        (["--agent", "cost", "--diff", "1", "--backfill"], "--backfill"),
        (["--agent", "cost", "--verify", "--diff", "1", "--rate", "5"], "--rate, --diff"),
        (["--agent", "cost", "--verify", "--target", "topic"], "--target"),
    ],
)
def test_what_cannot_be_honoured_is_said_in_a_sentence(run: Run, words: list[str], says: str) -> None:
    result = run(*words)
    assert isinstance(result.exception, MillraceError)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("rate", ["inf", "nan", "0", "-1", "fast"])
def test_a_rate_is_a_number_of_records(run: Run, rate: str) -> None:
    refused = run("--agent", "cost", "--rate", rate)
    assert (refused.exit_code, type(refused.exception)) == (2, SystemExit)
    assert "--rate" in refused.output


def test_a_run_goes_on_only_as_it_was_begun(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "rides.parquet", RIDES)
    run("--agent", "cost", "--file", str(path), "--run", "one")
    assert "was begun otherwise" in str(run("--agent", "tip", "--file", str(path), "--run", "one").exception)
    assert "--agent" in str(run("--run", "one", "--diff", "2").exception)


def test_killed_again_and_again_it_keeps_what_an_undisturbed_one_keeps(
    run: Run, environment: dict[str, str], replays: Replays, tmp_path: Path
) -> None:
    """Twice -9 in the middle, two workers at the end; `millrace bench replay --kill` does it at length."""
    path = write(tmp_path / "rides.parquet", MANY)
    begun = ["--agent", "duration,cancellation", "--file", str(path)]

    def start(*words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "cli", "replay", "--eager", "--rate", "8000", "--run", "hurt", *words]
        return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)

    assert run(*begun, "--run", "calm").exit_code == 0
    book, process = Book(replays, "hurt"), start(*begun)
    deadline = time.monotonic() + 300
    for _ in range(2):
        before = book.standing().passed
        while book.standing().passed == before and process.poll() is None:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start("--workers", "2")
    assert process.wait(300) == 0
    assert book.standing()[2:5] == (2 * MANY, 0, True)
    assert kept(replays, "hurt") == kept(replays, "calm")
