"""The ride recipes on a sample of the real data, and the shipped champions on the month that none of them has seen."""

from pathlib import Path

import numpy as np
import pytest

from app.agent import find
from app.registry import Registry, shipped_root
from training import recipe as recipes
from training.data import tlc
from training.recipe import Job
from training.recipes import cost, tip
from training.recipes._trips import Choice


@pytest.mark.parametrize("name", ["cancellation", "eta"])
def test_a_recipe_on_a_sample_beats_its_baseline_and_is_read_by_its_agent(
    name: str, datasets: Path, tmp_path: Path
) -> None:
    sample = 0.5 if name == "cancellation" else 0.05
    trained = recipes.find(name).train(Job(datasets, sample=sample))
    for metric in trained.metrics:
        better = metric.value > metric.baseline if metric.higher_is_better else metric.value < metric.baseline
        assert better, metric
    registry = Registry(tmp_path)
    registry.register(name, trained.files, {}, "")
    agent = find(name)
    request = tlc.read(datasets / "rides/green_tripdata_2023-02.parquet").where(np.arange(1)).requests()
    assert not agent.score(agent.load(registry.load(name)), request).problems


@pytest.fixture(scope="module")
def february(datasets: Path) -> tlc.Trips:
    return tlc.read(datasets / "rides/green_tripdata_2023-02.parquet")


def errors(name: str, trips: tlc.Trips, truth: np.ndarray) -> np.ndarray:
    """What the shipped champion errs, through the agent itself, as if the trips were events."""
    agent = find(name)
    state = agent.state() if agent.state else None
    scores = agent.score(agent.load(Registry(shipped_root()).load(name)), trips.requests(), state)
    assert not scores.problems
    return scores.values - truth


def test_the_shipped_duration_is_within_its_reference(february: tlc.Trips) -> None:
    wrong = errors("duration", february, february.duration_min)
    assert np.sqrt(np.mean(wrong**2)) <= 4.98
    assert np.mean(np.abs(wrong)) <= 3.29


def test_the_shipped_cost_and_tip_are_as_good_as_their_cards_say(february: tlc.Trips) -> None:
    paid = february.where((february.fare_usd > 0) & (february.fare_usd < 250))
    assert np.mean(np.abs(errors("cost", paid, paid.fare_usd))) <= 3.0
    card = paid.where((paid.payment == tlc.CARD) & (paid.tip_usd >= 0) & (paid.tip_usd < 50))
    assert np.mean(np.abs(errors("tip", card, card.tip_usd))) <= 1.35


def test_the_shipped_eta_is_rough_but_no_guess(february: tlc.Trips) -> None:
    assert np.mean(np.abs(errors("eta", february, february.duration_min))) <= 3.7


@pytest.fixture(scope="module")
def before(datasets: Path) -> list[tlc.Trips]:
    """What there was to learn from before the month that is tested on."""
    months = ("2021-01", "2021-02", "2023-01")
    return [tlc.read(datasets / f"rides/green_tripdata_{month}.parquet") for month in months]


@pytest.mark.parametrize(
    ("name", "choice"),
    [("cost", cost.TASK.choice), ("tip", tip.TASK.choice), ("duration", None), ("eta", None)],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_no_champion_has_seen_the_month_it_is_tested_on(
    name: str, choice: Choice | None, before: list[tlc.Trips]
) -> None:
    """It learned from as many trips as there were before, and so from none of February 2023."""
    learned = Registry(shipped_root()).load(name).manifest["rows"]
    assert learned == sum(len(trips if choice is None else trips.where(choice(trips))) for trips in before)
