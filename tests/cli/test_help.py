"""`--help` of every command says what was written for it: nothing of it is taken for markup and lost."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


ALL = dict(commands(get_command(app)))


def plain(text: str) -> str:
    """Without what is markup on purpose, and however it is broken into lines."""
    return " ".join(text.replace("`", "").replace("*", "").split())


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_all_of_a_commands_help_is_shown(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no help of an option is broken into lines
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    written = [ALL[path].help, ALL[path].epilog, *(getattr(option, "help", None) for option in ALL[path].params)]
    for text in filter(None, written):
        assert plain(text) in plain(shown.output)


def test_a_benchmarks_help_is_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert CliRunner().invoke(app, ["bench", "latency", "--help"]).exit_code == 0
    assert "--rounds" in capfd.readouterr().out


def test_the_version_is_told() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"millrace {version('millrace')}\n")
