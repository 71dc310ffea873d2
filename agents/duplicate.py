"""How likely an upload repeats an earlier upload of somebody else, and which: from the index of `agents._duplicates`.

A text of fewer than eight distinct content words is nobody's: its similarity is 0.
"""

from collections.abc import Sequence

import numpy as np

from agents._duplicates import DuplicateIndex, Entry, version_of
from agents._fingerprint import PAIR_FEATURES, Floats, fingerprints, whole_text
from app.agent import agent
from app.boosting import LightGBMModel
from app.events import ContentUpdated, ContentUploaded, UploadEvent
from app.predictions import Detail
from app.registry import Artifact

WIDTH = len(PAIR_FEATURES)
FLOOR = 0.5
"""Below this similarity the prediction does not name the other upload: it is more likely not a copy."""

_ID_COLUMNS, _PER_COLUMN = 10, 7


class PairModel:
    """The probability that the one text was copied from the other, by a monotone LightGBM; 0 where there is none."""

    def __init__(self, artifact: Artifact) -> None:
        self._pairs = LightGBMModel(artifact.path("model.txt"))

    def predict(self, features: Floats) -> Floats:
        """(n, 20) -> (n,)."""
        return np.where(features[:, 0] > 0, self._pairs.predict(features[:, :WIDTH]), 0.0)


def id_to_columns(upload_id: str) -> list[float]:
    """An id as 10 whole numbers of 7 ASCII characters each, so that a feature row says whom it was compared with.

    >>> columns_to_id(id_to_columns("video:42"))
    'video:42'
    """
    padded = upload_id.encode("ascii").ljust(_ID_COLUMNS * _PER_COLUMN, b"\0")
    parts = (padded[start : start + _PER_COLUMN] for start in range(0, len(padded), _PER_COLUMN))
    # 7 bits each: 49 bits are exact in a float64.
    return [float(sum(code << (7 * place) for place, code in enumerate(part))) for part in parts]


def columns_to_id(columns: Sequence[float]) -> str:
    """What `id_to_columns` was given."""
    numbers = (int(column) for column in columns)
    codes = bytes((number >> (7 * place)) & 127 for number in numbers for place in range(_PER_COLUMN))
    return codes.rstrip(b"\0").decode("ascii")


def _name_original(_: PairModel, __: Sequence[UploadEvent], features: Floats, values: Floats) -> list[Detail | None]:
    return [
        {"of": columns_to_id(row[WIDTH:-1].tolist()), "jaccard": round(float(row[0]), 4)} if value >= FLOOR else None
        for row, value in zip(features, values.tolist(), strict=True)
    ]


def _entered(features: Floats) -> list[int | None]:
    return [int(entered) or None for entered in features[:, -1].tolist()]


def _row(entry: Entry) -> Floats:
    """What they have in common, whom it was compared with, and where it was entered: microseconds, exact in a float64."""
    row = np.zeros(WIDTH + _ID_COLUMNS + 1)
    if entry.match is not None:
        row[:WIDTH], row[WIDTH:-1] = entry.match.pair, id_to_columns(entry.match.upload_id)
    row[-1] = entry.entered
    return row


@agent(
    "duplicate",
    consumes=(ContentUploaded, ContentUpdated),
    unit="similarity",
    low=0,
    high=1,
    load=PairModel,
    detail=_name_original,
    shared=DuplicateIndex,
    entered=_entered,
    max_batch=1024,
)
def duplicate(uploads: Sequence[UploadEvent], index: DuplicateIndex) -> Floats:
    """N uploads -> (n, 20): how the most similar earlier upload of another user compares, its id, and the place in the index."""
    texts = fingerprints([whole_text(upload) for upload in uploads])
    entries = index.enter([version_of(upload, text) for upload, text in zip(uploads, texts, strict=True)])
    return np.stack([_row(entry) for entry in entries]) if entries else np.zeros((0, WIDTH + _ID_COLUMNS + 1))
