"""`millrace ask`, as somebody types it, against a gateway whose agents answer by themselves."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import uvloop
from typer.testing import CliRunner, Result

from app.errors import ConfigurationError, DeadlineExceeded, MillraceError, NotServed
from app.services.process import free_port
from app.settings import Settings
from app.store import Store
from app.testing import MemoryAsker, MemoryBus
from cli.ask import Unanswered, ask
from gateway.main import server
from simulator.errors import AccessRefused, NoGateway

SECRET = "0123456789abcdef0123456789abcdef"
RIDE = '{"pickup": {"zone": 74}, "dropoff": {"zone": 132}}'
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def asker() -> MemoryAsker:
    return MemoryAsker()


@pytest.fixture(scope="module")
def port(asker: MemoryAsker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gateway in a thread; it has neither Kafka nor Redis, and needs none of them to ask."""
    directory, port = tmp_path_factory.mktemp("gateway"), free_port()
    settings = Settings(
        kafka="127.0.0.1:1", redis="redis://127.0.0.1:1", port=port, data_dir=directory, auth_secret=SECRET
    )
    store = Store.open(settings.database_url)
    running = server(settings, MemoryBus(), store, asker)
    thread = threading.Thread(target=lambda: uvloop.run(running._serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port
    running.should_exit = True
    thread.join(20)
    store.close()


@pytest.fixture
def run(asker: MemoryAsker, port: int, tmp_path: Path) -> Run:
    asker.values, asker.error, asker.absent = (7.5, 8.5), None, set()
    asker.problems.clear()
    asker.asked.clear()
    app = typer.Typer()
    app.command()(ask)

    def invoke(*arguments: str, stdin: str | None = None, secret: str = SECRET) -> Result:
        environment = {"MILLRACE_PORT": str(port), "MILLRACE_AUTH_SECRET": secret, "MILLRACE_DATA_DIR": str(tmp_path)}
        return CliRunner().invoke(app, arguments, env=environment, input=stdin)

    return invoke


def test_one_instance_in_a_table(run: Run, asker: MemoryAsker) -> None:
    result = run("eta", "--json", RIDE, "--user", "rider-7", "--deadline-ms", "700")
    assert result.exit_code == 0
    assert "7.5" in result.stdout
    ((agent, (event,), within_s, publish),) = asker.asked
    assert (agent, event.user_id, publish) == ("eta", "rider-7", False)
    assert within_s < 0.701


def test_many_from_a_file_as_json(run: Run, asker: MemoryAsker, tmp_path: Path) -> None:
    file = tmp_path / "rides.ndjson"
    file.write_text(f"{RIDE}\n\n" * 1100)
    result = run("eta", "--file", str(file), "--json-output", "--publish")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, len(rows)) == (0, 1100)
    assert [row["value"] for row in rows[:2]] == [7.5, 8.5]
    assert [len(events) for _, events, *_ in asker.asked] == [500, 500, 100]
    assert all(publish for *_, publish in asker.asked)


def test_from_standard_input(run: Run) -> None:
    assert run("eta", "--file", "-", stdin=f"{RIDE}\n").exit_code == 0


def test_a_row_without_an_answer_is_exit_code_1(run: Run, asker: MemoryAsker) -> None:
    asker.problems[1] = "outside the city"
    result = run("eta", "--json", f"[{RIDE}, {RIDE}]")
    assert result.exit_code == 1
    assert "outside the city" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (["eta"], ConfigurationError, "either --json or --file"),
        (["eta", "--json", RIDE, "--file", "x"], ConfigurationError, "either --json or --file"),
        (["eta", "--json", "{"], ConfigurationError, "not JSON"),
        (["eta", "--json", '{"pickup": {"zone": NaN}}'], ConfigurationError, "not JSON (NaN"),
        (["eta", "--json", "[]"], ConfigurationError, "no instance"),
        (["eta", "--file", "/nowhere"], ConfigurationError, "cannot be read"),
        (["eta", "--json", RIDE, "--publish", "--wait-decision"], ConfigurationError, "exclude each other"),
        (["eta", "--json", "{}"], Unanswered, "pickup"),
        (["nobody", "--json", RIDE], Unanswered, "no such agent"),
        (["eta", "--json", RIDE, "--url", "http://127.0.0.1:1"], NoGateway, "no gateway"),
        (["eta", "--json", RIDE, "--token", "x"], AccessRefused, "refuses the token"),
    ],
)
def test_what_is_wrong_is_one_sentence(run: Run, arguments: list[str], kind: type, sentence: str) -> None:
    error = run(*arguments).exception
    assert isinstance(error, kind)
    assert isinstance(error, MillraceError), "the console script makes one sentence of it, and exit code 2"
    assert sentence in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(DeadlineExceeded("eta", "too late"), "HTTP 504"), (NotServed("eta", "nobody is there"), "try again in 2 s")],
)
def test_no_answer_says_why(run: Run, asker: MemoryAsker, error: MillraceError, sentence: str) -> None:
    asker.error = error
    assert sentence in str(run("eta", "--json", RIDE).exception)
