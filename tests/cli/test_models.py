"""`millrace models` and `millrace train`, as somebody types them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from app.errors import ConfigurationError
from app.registry import Registry
from cli import models, train

Run = Callable[..., Result]
METRIC = {"name": "MAE, min", "split": "a → b", "value": 3.2, "baseline": 4.1, "rule": "median", "reference": 3.29}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "registry")
    for content in (b"one", b"two"):
        registry.register("tip", {"model.txt": content}, {"metrics": [METRIC]}, "# tip\n\nWhat a rider will tip.\n")
    return registry


@pytest.fixture
def run(registry: Registry, tmp_path: Path) -> Run:
    def invoke(app: typer.Typer, *arguments: str) -> Result:
        environment = {"MILLRACE_REGISTRY": str(registry.root), "MILLRACE_DATASETS": str(tmp_path / "none")}
        return CliRunner().invoke(app, arguments, env=environment)

    return invoke


def test_lists_every_version_for_a_script(run: Run) -> None:
    rows = json.loads(run(models.app, "list", "--json").stdout)
    assert [(row["model"], row["version"], row["aliases"]) for row in rows] == [
        ("tip", "1", ["champion"]),
        ("tip", "2", []),
    ]
    assert all(row["bytes"] > 0 for row in rows)


def test_lists_them_for_a_person(run: Run) -> None:
    listed = run(models.app, "list").stdout
    assert "tip" in listed
    assert "champion" in listed


def test_shows_the_card_and_the_figures(run: Run) -> None:
    assert "What a rider will tip." in run(models.app, "card", "tip").stdout
    assert json.loads(run(models.app, "metrics", "tip", "--json").stdout) == [METRIC]
    assert "3.29" in run(models.app, "metrics", "tip").stdout


def test_promotes(run: Run, registry: Registry) -> None:
    assert run(models.app, "promote", "tip", "2").exit_code == 0
    assert registry.load("tip").version == "2"


def _train_app() -> typer.Typer:
    app = typer.Typer()
    app.command()(train.train)
    return app


def test_training_without_the_data_says_which_file_is_missing(run: Run) -> None:
    error = run(_train_app(), "cancellation").exception
    assert isinstance(error, ConfigurationError)
    assert "yourcabs_2013.csv" in str(error)


def test_training_an_unknown_model_lists_the_known(run: Run) -> None:
    error = run(_train_app(), "weather").exception
    assert isinstance(error, ConfigurationError)
    assert "duration" in str(error)


def test_training_registers_and_promotes(run: Run, registry: Registry, datasets: Path) -> None:
    data = os.fspath(datasets)
    assert "a sample: not registered" in run(_train_app(), "cancellation", "--data", data, "--sample", "0.3").stdout
    assert "cancellation" not in registry.names()
    done = run(_train_app(), "cancellation", "--data", data, "--promote")
    assert "champion" in done.stdout
    assert registry.load("cancellation").manifest["model"] == "cancellation"
