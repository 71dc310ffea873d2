"""LightGBM boosters read from their text form: the model of most agents."""

import ctypes
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.registry import Artifact


class LightGBMModel:
    """One booster, on one thread: a small batch is slower on several."""

    def __init__(self, path: Path) -> None:
        import lightgbm  # takes a second, and the gateway never needs it

        self._booster = lightgbm.Booster(model_file=path)
        self._single = _SingleRow(self._booster)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, d) -> (n,); the same bits for a row alone and among others."""
        if len(features) == 1:
            return self._single.predict(features)
        return np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float64)


def lightgbm_model(artifact: Artifact) -> LightGBMModel:
    """The model of an artifact that holds one booster, `model.txt`."""
    return LightGBMModel(artifact.path("model.txt"))


class _SingleRow:
    """A booster asked for one row after another, by LightGBM's C interface made for that.

    `Booster.predict` makes a predictor and reads its parameters anew for every call: 25 microseconds of 25 to 55, a
    quarter of what a ride costs an agent (measured). Python has no way to it but the library's handles (LightGBM 4.7).
    """

    def __init__(self, booster: Any) -> None:
        from lightgbm.basic import _C_API_DTYPE_FLOAT64, _C_API_PREDICT_NORMAL, _safe_call
        from lightgbm.libpath import _LIB

        self._booster, self._width = booster, int(booster.num_feature())
        self._ask, self._check = _LIB.LGBM_BoosterPredictForMatSingleRowFast, _safe_call
        self._config = ctypes.c_void_p()
        whole = _C_API_PREDICT_NORMAL, 0, -1, _C_API_DTYPE_FLOAT64  # from the first tree to the last
        make, free = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit, _LIB.LGBM_FastConfigFree
        _safe_call(make(booster._handle, *whole, self._width, b"num_threads=1", ctypes.byref(self._config)))  # noqa: SLF001
        weakref.finalize(self, free, self._config)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(1, d) -> (1,)."""
        row, value, count = np.ascontiguousarray(features, np.float64), np.empty(1), ctypes.c_int64()
        if row.shape != (1, self._width):
            raise ValueError(f"expected {self._width} features and got {row.shape[-1]}")
        pointers = ctypes.c_void_p(row.ctypes.data), ctypes.byref(count), ctypes.c_void_p(value.ctypes.data)
        self._check(self._ask(self._config, *pointers))
        return value
