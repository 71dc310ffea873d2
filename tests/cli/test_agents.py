"""`millrace agents`, as somebody types it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.errors import ConfigurationError
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
