"""What a recipe is: a function from data to a trained model, its metrics and its card. `training.run` carries it out.

A recipe lives in `training/recipes/<model>.py` and is found by that name; it takes its features from the agent it is
for (`agents/<model>.py`), so that what is trained is what is served.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app import declared
from app.errors import ConfigurationError

SEED = 2023


def _silent(_what: str, _done: float) -> None:
    """No progress bar."""


@dataclass(frozen=True)
class Job:
    """What a recipe is given.

    Attributes:
        data: directory of the data sets.
        seed: of everything that is drawn at random.
        sample: fraction of the training rows to use; 1 for the real thing, less for a quick look.
        progress: called with what is being done and how much of the whole is done, 0 to 1.
    """

    data: Path
    seed: int = SEED
    sample: float = 1.0
    progress: Callable[[str, float], None] = _silent

    def path(self, file: str) -> Path:
        """One data file. Raises `ConfigurationError` when it is not there."""
        path = self.data / file
        if not path.is_file():
            raise ConfigurationError(f"MILLRACE_DATASETS: {self.data} holds no {file}")
        return path


@dataclass(frozen=True)
class Metric:
    """One figure, beside what it must beat.

    Attributes:
        name: "MAE, min", "ROC AUC".
        split: what it was trained on and measured on: "green Jan 2021 -> Feb 2021".
        value: ours.
        baseline: a simple rule on the same split; `rule` says which.
        reference: the published or agreed figure on the same split, where there is one.
        served: whether the served model itself was measured, or one trained on this split only.
    """

    name: str
    split: str
    value: float
    baseline: float
    rule: str
    reference: float | None = None
    higher_is_better: bool = False
    served: bool = True

    @property
    def meets(self) -> bool | None:
        """Whether it is at least as good as the reference; `None` without one."""
        if self.reference is None:
            return None
        return self.value >= self.reference if self.higher_is_better else self.value <= self.reference


@dataclass(frozen=True)
class Trained:
    """What a recipe gives back.

    Attributes:
        files: name -> content, nothing pickled: `model.txt` (LightGBM text), `*.npz` (see `npz`).
        features: names of the columns, in order; empty where they have none (hashed text).
        rows: rows the served model was trained on.
        split: in a sentence, how training and test data were kept apart.
        about: in plain words, what it predicts and from what.
        limits: sentences: where it should not be trusted.
        extra: anything else for the manifest (parameters, thresholds), JSON-encodable.
    """

    files: Mapping[str, bytes]
    metrics: Sequence[Metric]
    rows: int
    split: str
    about: str
    limits: Sequence[str]
    features: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A declaration; see `recipe`."""

    name: str
    data: tuple[str, ...]
    licence: str
    train: Callable[[Job], Trained]


def recipe(name: str, *, data: Sequence[str], licence: str) -> Callable[[Callable[[Job], Trained]], Recipe]:
    """Declare a recipe by decorating the function that trains, which bears the name `train`.

    Args:
        name: of the model, its agent and its module.
        data: files below the data directory that it reads; their checksums go into the manifest.
        licence: what is known of the data's terms, in a sentence.
    """

    def declare(train: Callable[[Job], Trained]) -> Recipe:
        return Recipe(name, tuple(data), licence, train)

    return declare


def find(name: str) -> Recipe:
    """The recipe `train` of module `training.recipes.<name>`. Raises `ConfigurationError` that lists what there is."""
    return declared.find("training.recipes", name, Recipe, "train")


def names() -> list[str]:
    """Every recipe there is, without loading any."""
    return declared.names("training.recipes")


def npz(**arrays: NDArray[Any]) -> bytes:
    """Arrays as the bytes of a compressed `.npz`; the same arrays give the same bytes."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name} holds objects, which would have to be pickled")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options
    return buffer.getvalue()
