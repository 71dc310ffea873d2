"""Every booster that ships: a row alone gets the bits it gets among others, and LightGBM's own."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest

from app.boosting import LightGBMModel
from app.registry import shipped_root

BOOSTERS = sorted(path for path in shipped_root().glob("*/*/*.txt") if path.read_bytes().startswith(b"tree\n"))


def test_there_are_boosters() -> None:
    assert len(BOOSTERS) >= 5


@pytest.mark.parametrize("path", BOOSTERS, ids=lambda path: str(path.relative_to(shipped_root())))
def test_a_row_alone_gets_the_same_bits(path: Path) -> None:
    model, booster, rng = LightGBMModel(path), lightgbm.Booster(model_file=path), np.random.default_rng(0)
    rows = np.concatenate([rng.normal(scale=scale, size=(300, booster.num_feature())) for scale in (0.1, 10, 1000)])
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[rng.random(rows.shape) < 0.1] = 0.0
    alone = np.concatenate([model.predict(rows[row : row + 1]) for row in range(len(rows))])
    assert alone.tobytes() == model.predict(rows).tobytes() == booster.predict(rows).tobytes()


def test_a_row_that_is_no_array_in_memory_order_is_read_right() -> None:
    model = LightGBMModel(BOOSTERS[0])
    wide = np.random.default_rng(1).normal(size=(2, 2 * model._booster.num_feature()))
    assert model.predict(wide[:1, ::2]) == model.predict(np.ascontiguousarray(wide[:, ::2]))[:1]


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_of_another_width_are_refused(rows: int) -> None:
    model = LightGBMModel(BOOSTERS[0])
    with pytest.raises((ValueError, lightgbm.basic.LightGBMError)):
        model.predict(np.zeros((rows, model._booster.num_feature() + 1)))
