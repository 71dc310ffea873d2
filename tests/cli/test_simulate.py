"""`millrace simulate` and `millrace watch`, typed wrongly or with nobody there: one plain sentence and exit code 2."""

import socket
import sys
from pathlib import Path

import pytest

from cli import main


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Told":
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLRACE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MILLRACE_AUTH_SECRET", "a secret of the tests, 32 characters")
    return Told(monkeypatch, capsys)


class Told:
    """Runs the console script and gives its exit code and what it says on standard error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> tuple[object, str]:
        self._monkeypatch.setattr(sys, "argv", ["millrace", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        said = self._capsys.readouterr().err
        assert "Traceback" not in said
        return ended.value.code, said


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.parquet", None, "cannot replay none.parquet: "),
        ("trips.parquet", b"PAR? this is no such file", "cannot replay trips.parquet: "),
        ("none.csv", None, "cannot replay none.csv: there is no such file"),
        ("other.csv", b"a,b\n1,2\n", "cannot replay other.csv: it has no column channel_title"),
        ("notes.txt", b"hello", "notes.txt is neither .parquet nor .csv: say what it holds, as in `simulate rides`"),
    ],
)
def test_what_cannot_be_replayed_is_named(told: Told, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    code, said = told("simulate", "--from", name)
    assert code == 2
    assert said.startswith("millrace: ")
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", [("simulate", "--count", "1"), ("watch",), ("watch", "--user", "rider-7")])
def test_without_a_gateway_it_says_where_it_looked(told: Told, nobody: str, command: tuple[str, ...]) -> None:
    code, said = told(*command, "--url", nobody)
    assert code == 2
    assert f"no gateway at {nobody}" in said
    assert "millrace up" in said


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (("simulate", "tractors"), "tractors"),
        (("simulate", "--rate", "fast"), "--rate"),
        (("simulate", "--rate", "-1"), "--rate"),
        (("simulate", "--users", "0"), "--users"),
        (("simulate", "--via", "pigeon"), "pigeon"),
        (("simulate", "--start", "yesterday"), "--start"),
        (("simulate", "--sideways",), "--sideways"),
        (("watch", "--sideways",), "--sideways"),
        (("watch", "rider-7"), "rider-7"),
    ],
)  # fmt: skip
def test_a_bad_option_is_named(told: Told, arguments: tuple[str, ...], about: str) -> None:
    code, said = told(*arguments)
    assert code == 2
    assert about in said


def test_poison_does_not_go_through_the_gateway(told: Told) -> None:
    assert told("simulate", "--poison", "0.1") == (
        2,
        "millrace: --poison needs --via kafka: the gateway lets no bad record through\n",
    )


@pytest.mark.parametrize("name", ["a b", "a/b", "", "x" * 33])
def test_a_run_is_named_so_that_ids_can_bear_it(told: Told, name: str) -> None:
    code, said = told("simulate", "--count", "1", "--run", name)
    assert code == 2
    assert said.startswith(f"millrace: --run {name!r}: ")


def test_a_setting_that_cannot_be_honoured_is_named(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_PORT", "many")
    for command in ("simulate", "watch"):
        code, said = told(command)
        assert code == 2
        assert said.startswith("millrace: MILLRACE_PORT: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("rides", "--processes", "2"), "--processes is for made-up transactions straight to Kafka"),
        (("transactions", "--users", "6000", "--rate", "10"), "--users 6000: 5000 at most"),
        (("transactions", "--rate", "5000"), "MILLRACE_KAFKA is not set"),
        (("transactions", "--from", "none.parquet"), "cannot replay none.parquet: there is no such file"),
    ],
)
def test_transactions_that_cannot_be_sent_say_why(told: Told, arguments: tuple[str, ...], sentence: str) -> None:
    code, said = told("simulate", *arguments)
    assert code == 2
    assert sentence in said
