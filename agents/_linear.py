"""The model behind the agents that read text: tf-idf, linear scores by class, calibrated; of an upload, its worst segment.

Trained by `training.recipes._linear`, fed by `agents._text.hashed`. A few hundred kB of plain arrays.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from agents._text import BUCKETS
from app.registry import Artifact

Floats = NDArray[np.float64]

FILE = "weights.npz"


class LinearText:
    """k classes; class 0 is the one the agent is named after.

    Args:
        idf: (BUCKETS,) inverse document frequencies.
        weights: (BUCKETS, k) of the tf-idf values, which have length 1 over the words and 1 over the characters.
        slope: (k, k) and
        intercept: (k,): a segment's class probabilities are softmax(scores @ slope + intercept).
    """

    def __init__(self, idf: Floats, weights: Floats, slope: Floats, intercept: Floats) -> None:
        self._idf, self._weights = idf.astype(np.float64), weights.astype(np.float64)
        self._slope, self._intercept = slope.astype(np.float64), intercept.astype(np.float64)

    def predict(self, features: csr_matrix) -> Floats:
        """(n,) probability of class 0 in the segment where it is highest."""
        return self.probabilities(features)[:, 0]

    def probabilities(self, features: csr_matrix) -> Floats:
        """(n, k) class probabilities of each upload's worst segment; an upload without a word is taken as average."""
        rows, scores = self.segment_scores(features)
        chances = self.calibrate(scores)
        order = np.lexsort((-chances[:, 0], rows))
        first = order[np.flatnonzero(np.r_[True, np.diff(rows[order]) > 0][: len(rows)])]
        answer = np.repeat(self.calibrate(np.zeros((1, len(self._intercept)))), features.shape[0], axis=0)
        answer[rows[first]] = chances[first]
        return answer

    def segment_scores(self, features: csr_matrix) -> tuple[NDArray[np.int64], Floats]:
        """Row of each segment that has an n-gram, and its (m, k) scores."""
        half, columns = BUCKETS // 2, features.indices.astype(np.int64)
        owner = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
        run = owner * (features.shape[1] // half) + columns // half
        starts = np.flatnonzero(np.r_[True, run[1:] != run[:-1]][: len(run)])
        values = features.data * self._idf[columns % BUCKETS]
        # One sparse row per run: the products are added in order, so a row's bits do not depend on its neighbours.
        runs = csr_matrix((values, columns % BUCKETS, np.r_[starts, len(run)]), shape=(len(starts), BUCKETS))
        squares = csr_matrix((values * values, runs.indices, runs.indptr), shape=runs.shape)
        scores = (runs @ self._weights) / np.sqrt(squares @ np.ones(BUCKETS))[:, None]
        segment = run[starts] // 2
        new = np.flatnonzero(np.r_[True, segment[1:] != segment[:-1]][: len(segment)])
        totals = np.add.reduceat(scores, new, axis=0) if len(new) else scores
        return owner[starts][new], totals

    def calibrate(self, scores: Floats) -> Floats:
        """(m, k) scores -> (m, k) probabilities that sum to 1."""
        # Spelt out: a BLAS product may round differently by the number of rows.
        logits = sum((scores[:, [j]] * self._slope[j] for j in range(len(self._slope))), start=self._intercept)
        shifted = logits - logits.max(axis=1, keepdims=True)
        # Not NumPy's, which has other last bits where the processor has AVX-512.
        powers = np.array([math.exp(one) for one in shifted.ravel().tolist()]).reshape(shifted.shape)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def pack(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Weights as one byte each, by class: sign(w) sqrt|w| in 127 steps, fine where most weights are. And the steps."""
    roots = np.sign(weights) * np.sqrt(np.abs(weights))
    steps = np.maximum(np.abs(roots).max(axis=0), 1e-12) / 127
    return np.round(roots / steps).astype(np.int8), steps


def unpack(packed: NDArray[np.int8], steps: Floats) -> Floats:
    """What `pack` packed."""
    roots = packed * steps
    return np.asarray(np.sign(roots) * roots * roots)


def linear_text(artifact: Artifact) -> LinearText:
    """The model of an artifact that holds `weights.npz`."""
    arrays = artifact.arrays(FILE)
    idf = arrays["idf"] * float(arrays["idf_step"])
    weights = unpack(arrays["weights"], arrays["steps"])
    return LinearText(idf, weights, arrays["slope"], arrays["intercept"])
