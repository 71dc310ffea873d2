"""The churn recipe: on a sample of the real data it beats recency, and it never looks past what it is measured on."""

from datetime import timedelta
from pathlib import Path

import numpy as np

from app.jobs.job import find
from app.registry import Registry, shipped_root
from training import recipe as recipes
from training.data import cdnow
from training.recipe import Job
from training.recipes.churn import CDNOW, HORIZON_DAYS, LEARNED, MEASURED, MONOTONE, calibration_error


def test_on_a_sample_it_beats_recency_and_is_read_by_its_job(datasets: Path, tmp_path: Path) -> None:
    log = cdnow.Log.read(datasets / CDNOW)
    trained = recipes.find("churn").train(Job(datasets, sample=0.15))
    for metric in trained.metrics:
        better = metric.value > metric.baseline if metric.higher_is_better else metric.value < metric.baseline
        assert better, metric
    registry = Registry(tmp_path)
    registry.register("churn", trained.files, {}, "")
    job = find("churn")
    history = log.until(MEASURED)
    few = set(history.ids[:50])
    part = history._replace(ids=history.ids[:50], rows=[row for row in history.rows if row[0] in few])
    scored, problems = job.score(job.model(registry.load("churn")), "1", part)
    assert (len(scored.values), problems) == (50, {})


def test_what_it_learns_from_ends_before_what_it_is_measured_on() -> None:
    assert max(LEARNED) + timedelta(days=HORIZON_DAYS) <= MEASURED


def test_the_log_as_of_a_time_holds_nothing_later(datasets: Path) -> None:
    history = cdnow.Log.read(datasets / CDNOW).until(LEARNED[0])
    assert max(row[1] for row in history.rows) < LEARNED[0]
    assert len(history.ids) == len({row[0] for row in history.rows})


def test_a_longer_silence_never_lowers_the_risk_of_the_shipped_model() -> None:
    job = find("churn")
    model = job.model(Registry(shipped_root()).load("churn"))
    usual = np.array([20.0, 4, 120, 8, 25, 0.8, 0.2, 1.5, 1.0, 1.2])
    for column, sign in enumerate(MONOTONE):
        rows = np.tile(usual, (40, 1))
        rows[:, column] = np.linspace(0, 4 * usual[column], 40)
        assert sign == 0 or (sign * np.diff(model.predict(rows)) >= 0).all(), job.columns[column]


def test_the_calibration_error_of_a_constant_is_its_distance_from_the_share() -> None:
    truth = np.arange(1000) % 4 == 0
    assert np.isclose(calibration_error(truth, np.full(1000, 0.35)), 0.1)
