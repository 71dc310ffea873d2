"""Model versions and aliases, with checksums. A file store: `<root>/<model>/<version>/` holds one artifact.

Training writes here, the agents' workers read; nothing is unpickled, and nothing unknown to the index is loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ArtifactError


@dataclass(frozen=True)
class Artifact:
    """One version of one model, verified against the registry's index.

    Attributes:
        directory: its files: `model.txt` (LightGBM text), `*.npz` arrays, `card.md`, `manifest.json`.
        manifest: data checksum, code revision, seed, metrics beside their baselines.
    """

    name: str
    version: str
    directory: Path
    manifest: dict[str, Any]

    def path(self, file: str) -> Path:
        path = self.directory / file
        if not path.is_file():
            raise ArtifactError(
                f"model {self.name} {self.version} has no file {file}: train it again (millrace train {self.name})"
            )
        return path


class LightGBMModel:
    """A LightGBM booster read from its text form, on one thread: a small batch is slower on several."""

    def __init__(self, path: Path) -> None:
        import lightgbm  # takes a second, and the gateway never needs it

        self._booster = lightgbm.Booster(model_file=path)

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, d) -> (n,)."""
        return np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float64)


def lightgbm_model(artifact: Artifact) -> LightGBMModel:
    """The model of an artifact that holds one booster, `model.txt`."""
    return LightGBMModel(artifact.path("model.txt"))
