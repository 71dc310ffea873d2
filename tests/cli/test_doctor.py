"""`millrace doctor` and `millrace topics`, as a person and as a script see them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from app import embedded
from app.settings import Settings
from cli.checks import Finding, State, findings
from cli.doctor import doctor
from cli.topics import topics

commands = typer.Typer()
commands.command()(doctor)
commands.command()(topics)


def run(settings: Settings, *arguments: str) -> Result:
    """The command, in the environment those settings would be read from."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    environment = {f"MILLRACE_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    return CliRunner().invoke(commands, arguments, env=environment)


def of(part: str, found: list[Finding]) -> Finding:
    return next(finding for finding in found if finding.part == part)


def test_a_machine_with_nothing_set_is_sound(tmp_path: Path) -> None:
    found = findings(Settings.model_construct(data_dir=tmp_path / "data"))
    assert [finding for finding in found if finding.state is State.WRONG and finding.part != "models"] == []
    assert of("redis", found).text.startswith("will start Redis")
    assert not (tmp_path / "data").exists(), "to look is not to change"


def test_what_does_not_answer_is_wrong_and_named(tmp_path: Path) -> None:
    found = findings(
        Settings.model_construct(
            data_dir=tmp_path, kafka="127.0.0.1:1", redis="redis://127.0.0.1:1", datasets=tmp_path / "none"
        )
    )
    for part in ("kafka", "redis", "datasets"):
        finding = of(part, found)
        assert finding.state is State.WRONG
        assert f"MILLRACE_{part.upper()}" in finding.text


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert of("data", findings(Settings.model_construct(data_dir=tmp_path / "file" / "data"))).state is State.WRONG


def test_a_running_service_is_found_with_its_memory(tmp_path: Path) -> None:
    settings = Settings.model_construct(kafka="127.0.0.1:1", data_dir=tmp_path)
    with embedded.services(settings):
        result = run(settings, "doctor", "--json")
    said = json.loads(result.output)
    assert result.exit_code == 1, "the broker does not answer"
    redis = next(process for process in said["processes"] if process["name"] == "Redis")
    assert redis["rss_mb"] > 1


@pytest.mark.skipif(shutil.which("timeout") is None, reason="coreutils are not installed")
def test_what_the_doctor_was_started_with_is_no_part_of_the_system(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "MILLRACE_DATA_DIR": str(tmp_path), "MILLRACE_KAFKA": "127.0.0.1:1"}
    command = ["timeout", "60", Path(sys.executable).with_name("millrace"), "doctor", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as started:
        told, _ = started.communicate()
    assert started.pid not in [process["pid"] for process in json.loads(told)["processes"]]


def test_topics_shows_the_table_and_creates_what_is_missing(settings: Settings) -> None:
    result = run(settings, "topics", "--ensure", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["topic"]: row for row in json.loads(result.output)}
    assert rows["rides"]["partitions"] == settings.partitions
    assert rows["rides"]["key"] == "user_id"
    shown = run(settings, "topics").output
    assert "dead-letters" in shown
    assert "10 min" in shown
    assert "requests.cancellation" in shown
