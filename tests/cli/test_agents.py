"""`millrace agents`, as somebody types it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.errors import ConfigurationError, ServiceUnavailable
from app.settings import Settings
from cli import agents


def test_a_worker_wants_a_broker_and_no_redis(tmp_path: Path) -> None:
    """The first it has to say is that the broker does not answer: no agent has any business with Redis."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    environment |= {"MILLRACE_KAFKA": "127.0.0.1:1", "MILLRACE_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "cli", "agents", "run", "cost"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        try:
            assert "127.0.0.1:1" in worker.stderr.readline()
        finally:
            worker.kill()


def test_a_wrong_name_is_said_at_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(agents.app, ["run", "cost", "nobody"], env={"MILLRACE_DATA_DIR": str(tmp_path)})
    assert isinstance(result.exception, ConfigurationError)
    assert "no agent 'nobody'" in str(result.exception)


@pytest.mark.parametrize("name", ["cost", "fraud"])
def test_the_list_has_every_agent(name: str) -> None:
    assert name in CliRunner().invoke(agents.app, ["list"]).stdout


@pytest.mark.parametrize("name", ["nobody", "decisions"])
def test_the_health_of_nobody_is_an_error(name: str) -> None:
    result = CliRunner().invoke(agents.app, ["health", name])
    assert isinstance(result.exception, ConfigurationError)
    assert "decision.cards" in str(result.exception)


def test_who_has_no_worker_is_not_well(settings: Settings) -> None:
    result = CliRunner().invoke(agents.app, ["health", "decision.cards"], env={"MILLRACE_KAFKA": settings.kafka})
    assert (result.exit_code, result.output) == (1, "decision.cards: 0 workers\n")


def test_a_broker_that_is_away_is_no_lack_of_workers(tmp_path: Path) -> None:
    environment = {"MILLRACE_KAFKA": "127.0.0.1:1", "MILLRACE_DATA_DIR": str(tmp_path)}
    result = CliRunner().invoke(agents.app, ["health", "eta"], env=environment)
    assert isinstance(result.exception, ServiceUnavailable)
