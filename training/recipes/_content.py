"""What the recipes of `toxicity`, `hate` and `spam` share: cross-fitting, real uploads as background, thresholds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from agents._linear import Floats, LinearText
from agents._text import hashed, ngrams, segments
from app.events import UploadEvent
from training.data import content
from training.data.content import Labels, Texts
from training.recipe import Job
from training.recipes import _linear

REMOVE_PRECISION, REVIEW_RECALL = 0.9, 0.8
REVIEW_SHARE = 0.02
"""Of real uploads, at most this share is to be looked at for nothing; it comes before recall."""


@dataclass(frozen=True)
class Corpus:
    """Several sources together, hashed once to train on.

    Attributes:
        grams: (n, BUCKETS) of the whole texts.
        source: number of the source of each row.
    """

    parts: Sequence[Texts]
    prepare: Callable[[str], str]
    grams: csr_matrix
    labels: Labels
    weights: Floats
    groups: Labels
    source: Labels

    def events(self) -> list[UploadEvent]:
        """Each text as the agent would meet it."""
        return [event for part in self.parts for event in part.events()]

    def rows(self, source: str) -> Labels:
        """The rows of one source."""
        number = [part.source for part in self.parts].index(source)
        return np.flatnonzero(self.source == number)


def corpus(job: Job, parts: Sequence[Texts], prepare: Callable[[str], str]) -> Corpus:
    """Parts hashed and put together, thinned to the job's sample; equal texts and equal groups are one group."""
    parts = [_thinned(part, job) for part in parts]
    prepared = [[prepare(text) for text in part.texts] for part in parts]
    names = [
        text if group == raw else group
        for part, texts in zip(parts, prepared, strict=True)
        for text, group, raw in zip(texts, part.groups, part.texts, strict=True)
    ]
    return Corpus(
        parts=parts,
        prepare=prepare,
        grams=ngrams([text for texts in prepared for text in texts]),
        labels=np.concatenate([part.labels for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        groups=np.unique(names, return_inverse=True)[1],
        source=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
    )


def _thinned(part: Texts, job: Job) -> Texts:
    if job.sample == 1 or part.source == content.TRENDING:  # `benign` counts on all of its segments
        return part
    kept = np.random.default_rng(job.seed).random(len(part)) < job.sample
    texts, groups = ([one for one, keep in zip(some, kept, strict=True) if keep] for some in (part.texts, part.groups))
    return Texts(texts, part.labels[kept], part.weights[kept], groups, part.source)


def background(root: Path, label: int) -> Texts:
    """Titles and tags of real uploads, by channel, taken to be harmless: they teach what the platform looks like."""
    pieces = [(piece, channel) for channel, event in content.trending(root) for piece in segments(event)]
    texts, channels = [piece for piece, _ in pieces], [f"channel {channel}" for _, channel in pieces]
    return Texts(texts, np.full(len(texts), label), np.ones(len(texts)), channels, content.TRENDING)


@dataclass(frozen=True)
class Fitted:
    """The served model, and what models of the same make say of texts and channels they did not see.

    Attributes:
        chances: (n, k) out-of-fold probabilities, texts taken through the agent's own path.
        scores: (n, k) the raw scores they come from.
    """

    files: dict[str, bytes]
    model: LinearText
    chances: Floats
    scores: Floats


def fit(job: Job, data: Corpus) -> Fitted:
    """Cross-fit by group, calibrate on the out-of-fold scores, then fit on everything."""
    scores, halves = np.zeros((len(data.labels), int(data.labels.max()) + 1)), []
    for number, (train, test) in enumerate(_linear.folds(data.labels, data.groups, job.seed)):
        job.progress("cross-fitting", number / (_linear.FOLDS + 1))
        idf, weights = _linear.scorer(data.grams[train], data.labels[train], data.weights[train], job.seed)
        scores[test] = _linear.normalised(data.grams[test], idf) @ weights
        halves.append((idf, weights, test))
    slope, intercept = _linear.calibration(scores, data.labels, data.weights)
    events, chances = data.events(), np.zeros_like(scores)
    for idf, weights, test in halves:
        served = hashed([events[row] for row in test], data.prepare)
        chances[test] = LinearText(idf, weights, slope, intercept).probabilities(served)
    idf, weights = _linear.scorer(data.grams, data.labels, data.weights, job.seed)
    files = _linear.files(idf, weights, slope, intercept)
    return Fitted(files, LinearText(idf, weights, slope, intercept), chances, scores)


def plain(train: Sequence[str], labels: Labels, test: Sequence[str]) -> Floats:
    """Decision values of the ten-minute baseline: a linear SVM on tf-idf of words."""
    words = TfidfVectorizer()
    machine = LinearSVC(random_state=0).fit(words.fit_transform(train), labels)
    return np.asarray(machine.decision_function(words.transform(test)))


def benign(job: Job, data: Corpus, fitted: Fitted) -> Floats:
    """(m,) What models say of real uploads (title and tags together) of channels they have not seen."""
    lengths = [len(segments(event)) for _, event in content.trending(job.data)]
    chances = fitted.chances[data.rows(content.TRENDING), 0]
    return np.asarray(np.maximum.reduceat(chances, np.r_[0, np.cumsum(lengths)[:-1]]))


def thresholds(data: Corpus, fitted: Fitted, harmless: Floats) -> dict[str, Any]:
    """Where precision reaches 0.9 (remove) and recall 0.8 or 2 % of real uploads (review), and how good each is.

    Out of fold; every source counts the same, whatever its size, and the real uploads are one of them. `harmless` is
    what `benign` gives.
    """
    positive, chances = data.labels == 0, fitted.chances[:, 0]
    share = (1 / np.bincount(data.source))[data.source]
    order = np.argsort(-chances, kind="stable")
    hits, shown = np.cumsum((share * positive)[order]), np.cumsum(share[order])
    precise = np.flatnonzero(hits >= REMOVE_PRECISION * shown)
    precise_at = float(chances[order[precise[-1]]]) if len(precise) else 1.0
    recalled_at = float(chances[order[np.flatnonzero(hits >= REVIEW_RECALL * hits[-1])[0]]])
    # Where the model is good enough to have both, the stricter is for removal.
    remove, review = max(precise_at, recalled_at), min(precise_at, recalled_at)
    review = min(remove, max(review, float(np.quantile(harmless, 1 - REVIEW_SHARE))))
    return {
        name: {
            "value": round(value, 3),
            "precision": round(float(share[positive & (chances >= value)].sum() / share[chances >= value].sum()), 3),
            "recall": round(float(share[positive & (chances >= value)].sum() / hits[-1]), 3),
            "share_of_real_uploads": round(float((harmless >= value).mean()), 4),
        }
        for name, value in (("remove", remove), ("review", review))
    }


def in_words(found: dict[str, Any]) -> str:
    """The thresholds as a sentence of the card."""
    return "Thresholds, out of fold, every source counting the same: " + "; ".join(
        f"{name} at {one['value']} (precision {one['precision']}, recall {one['recall']}, "
        f"{one['share_of_real_uploads']:.2%} of real uploads of unseen channels)"
        for name, one in found.items()
    )
