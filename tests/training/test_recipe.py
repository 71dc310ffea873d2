"""The recipes' frame: found by name, told apart from nonsense, carried out into a registry the agents can read."""

from pathlib import Path

import numpy as np
import pytest

from app.errors import ConfigurationError
from app.registry import Registry
from training import recipe as recipes
from training.recipe import Job, Metric, Recipe, Trained, npz, recipe
from training.run import revision, run


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "numbers.csv").write_text("1\n2\n")
    return Job(tmp_path)


@recipe("mean", data=["numbers.csv"], licence="ours")
def mean(job: Job) -> Trained:
    numbers = [float(line) for line in job.path("numbers.csv").read_text().split()]
    return Trained(
        files={"mean.npz": npz(mean=np.array(np.mean(numbers)))},
        metrics=[
            Metric("MAE, min", "all", 0.5, 1.0, "zero", reference=0.6),
            Metric("AUC", "all", 0.5, 0.5, "chance", reference=0.6, higher_is_better=True, served=False),
        ],
        rows=len(numbers),
        split="None.",
        about="The mean.",
        limits=["It knows two numbers."],
        features=["number"],
        extra={"threshold": 0.25},
    )


def test_what_a_recipe_makes_is_registered_with_all_it_takes_to_judge_it(job: Job, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    version, _ = run(mean, job, registry)
    artifact = registry.load("mean")
    assert artifact.version == version == "1"
    assert artifact.arrays("mean.npz")["mean"] == 1.5
    manifest = artifact.manifest
    assert manifest["data"] == {"numbers.csv": "a6e2b7a040683432de03a18fd8a1939a2fdf82585b364bfc874bdd4095c4cae1"}
    assert (manifest["rows"], manifest["seed"], manifest["threshold"]) == (2, job.seed, 0.25)
    assert [metric["meets"] for metric in manifest["metrics"]] == [True, False]
    assert manifest["code"] == revision()
    assert "lightgbm" in manifest["libraries"]


def test_training_again_makes_the_same_version(job: Job, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    assert run(mean, job, registry)[0] == run(mean, job, registry)[0]


def test_the_card_tells_figures_data_terms_and_limits(job: Job, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    run(mean, job, registry)
    card = registry.load("mean").card()
    for told in ("# mean", "The mean.", "**0.5**", "1 (zero)", "not met", "numbers.csv", "ours", "two numbers"):
        assert told in card


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"numbers\.csv"):
        run(mean, Job(tmp_path / "nowhere"), Registry(tmp_path / "registry"))


def test_every_recipe_is_found_by_its_name() -> None:
    for name in recipes.names():
        found = recipes.find(name)
        assert isinstance(found, Recipe)
        assert found.name == name
    with pytest.raises(ConfigurationError, match="duration"):
        recipes.find("weather")


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="pickled"):
        npz(table=np.array([{}], dtype=object))
