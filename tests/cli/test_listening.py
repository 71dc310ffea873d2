"""Whether the gateway can have its address."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.errors import ConfigurationError
from app.services.process import free_port
from app.settings import Settings
from cli.listening import check_address
from cli.main import app


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", ["demo", "up", "gateway"])
def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path, taken: int, command: str) -> None:
    environment = {"MILLRACE_DATA_DIR": str(tmp_path), "MILLRACE_PORT": str(taken), "MILLRACE_KAFKA": "127.0.0.1:1"}
    ended = CliRunner().invoke(app, [command], env=environment | {"MILLRACE_REDIS": "redis://127.0.0.1:1"})
    assert isinstance(ended.exception, ConfigurationError)
    assert f"127.0.0.1:{taken} is taken" in str(ended.exception)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_here_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match=host):
        check_address(Settings(host=host, port=8000))


def test_a_port_that_is_free_stays_free() -> None:
    settings = Settings(port=free_port())
    check_address(settings)
    check_address(settings)
    check_address(Settings(port=0))
