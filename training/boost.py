"""LightGBM as the recipes use it: deterministic, two threads at most, and the figures it is judged by."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REPRODUCIBLE: Mapping[str, Any] = {
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbosity": -1,
}


def fit(
    features: Floats,
    target: Floats,
    parameters: Mapping[str, Any],
    *,
    rounds: int,
    seed: int,
    weight: Floats | None = None,
    categorical: Sequence[int] = (),
    progress: Callable[[float], None] | None = None,
) -> lightgbm.Booster:
    """Train a booster; the same input and seed give the same bits. `progress` hears how much is done, 0 to 1."""

    def after(environment: Any) -> None:
        if progress is not None:
            progress((environment.iteration + 1) / rounds)

    data = lightgbm.Dataset(features, target, weight=weight, categorical_feature=list(categorical))
    return lightgbm.train({**REPRODUCIBLE, **parameters, "seed": seed}, data, rounds, callbacks=[after])


def text(booster: lightgbm.Booster) -> bytes:
    """The booster as LightGBM's text form."""
    return str(booster.model_to_string()).encode()


def rmse(predicted: Floats, truth: Floats) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def mae(predicted: Floats, truth: Floats) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(predicted - truth)))
