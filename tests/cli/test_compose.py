"""The compose file, as far as it can be checked where no container engine runs: who is in it, and what they are started with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # stubs for one call would be a dependency more
from typer.testing import CliRunner

from app.agent import names
from app.settings import Settings
from cli.main import app
from tests.conftest import KAFKA_IMAGE, REDIS_IMAGE

ROOT = Path(__file__).parents[2]
COMPOSED: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "millrace"}


def _commands() -> Iterator[Any]:
    for name, service in OURS.items():
        if "command" in service:
            yield pytest.param(service["command"], id=name)
        match service.get("healthcheck", {}).get("test"):
            case ["CMD", "millrace", *arguments]:
                yield pytest.param(arguments, id=f"{name}'s health")


@pytest.mark.parametrize("name", names())
def test_every_agent_has_a_service_that_runs_it_and_asks_for_its_own_health(name: str) -> None:
    assert SERVICES[name]["command"] == ["agents", "run", name]
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "millrace", "agents", "health", name]


@pytest.mark.parametrize("arguments", [*_commands()])
def test_every_command_is_one_of_ours(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


def test_every_setting_is_one_of_ours() -> None:
    given = {name.removeprefix("MILLRACE_").lower() for name in COMPOSED["x-environment"]}
    assert given <= Settings.model_fields.keys()


def test_the_image_is_built_once() -> None:
    """Two builds of one new name at the same time, as compose does them, are an error."""
    assert [name for name, service in SERVICES.items() if "build" in service] == ["gateway-a"]
    assert all(service["pull_policy"] == "never" for service in OURS.values())


def test_who_is_waited_for_says_when_it_is_well_or_ends() -> None:
    for service in SERVICES.values():
        for name, waited in service.get("depends_on", {}).items():
            ends = SERVICES[name].get("restart") == "no"
            assert waited == {"condition": "service_completed_successfully" if ends else "service_healthy"}
            assert ends or "healthcheck" in SERVICES[name]


def test_volumes_that_are_named_are_declared() -> None:
    named = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {name for name in named if not name.startswith(".")} == COMPOSED["volumes"].keys()
    assert all((ROOT / name).exists() for name in named if name.startswith("."))


def test_the_tests_meet_the_images_that_are_served() -> None:
    assert {KAFKA_IMAGE, REDIS_IMAGE} <= {service["image"] for service in SERVICES.values()}


def test_what_is_copied_into_the_image_is_let_through_and_is_all_of_the_package() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = (line.split() for line in dockerfile.splitlines() if line.startswith("COPY ") and "--from" not in line)
    copied = {source for _, *sources, _ in lines for source in sources}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)
