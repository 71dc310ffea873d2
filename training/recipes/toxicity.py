"""Recipe of `toxicity`: four sets of judged texts, merged into toxic or not, with real uploads as background."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from agents._linear import Floats
from agents._text import normalise
from training.data import content
from training.recipe import Job, Metric, Trained, recipe
from training.recipes import _content, _linear
from training.recipes._content import Corpus, Fitted

LICENCE = (
    "Davidson (MIT), Surge AI (MIT), OLID 2019 and the YouTube comments (no licence stated), Kaggle trending (CC0)."
)


@recipe(
    "toxicity",
    data=(content.SURGE, content.YOUTUBE_TOXIC, content.OLID, content.DAVIDSON, content.TRENDING),
    licence=LICENCE,
)
def train(job: Job) -> Trained:
    root = job.data
    # Davidson: hate and offensive are both toxic.
    judged = [
        content.surge(root),
        content.youtube_toxic(root),
        content.olid(root),
        content.davidson(root).relabelled(0, 0, 1),
    ]
    data = _content.corpus(job, [*judged, _content.background(root, 1)], normalise)
    fitted = _content.fit(job, data)
    found = _content.thresholds(data, fitted, _content.benign(job, data, fitted))
    return Trained(
        files=fitted.files,
        metrics=[metric for part in judged for metric in _metrics(job, data, fitted, part.source)],
        rows=len(data.labels),
        split="Five folds, stratified; texts equal after normalising, and the uploads of one channel, stay together.",
        about=(
            "The probability that an upload insults, threatens or offends: of its segments of at most 140 characters "
            "(title, description, tags, text), the highest. Toxic means: Surge AI's `Toxic`, YouTube's `IsToxic`, "
            "OLID's `OFF`, Davidson's hate or offensive. Titles and tags of trending videos count as not toxic."
        ),
        limits=[
            _content.in_words(found),
            "English. Vocabulary of 2017-2021; it sees words, not meaning: irony, quotation and reclaimed words fool it.",
            "The probability is calibrated on the mix of the four sources, where half to four fifths are toxic.",
            "The maximum over segments: the more text, the more chances of a false alarm.",
        ],
        extra={"thresholds": found},
    )


def _metrics(job: Job, data: Corpus, fitted: Fitted, source: str) -> list[Metric]:
    name, rows = source.split("/")[1].split(".")[0], data.rows(source)
    others = np.setdiff1d(np.arange(len(data.labels)), rows)
    toxic = data.labels[rows] == 0
    idf, weights = _linear.scorer(data.grams[others], data.labels[others], data.weights[others], job.seed)
    unseen = _linear.normalised(data.grams[rows], idf) @ weights
    words = _baseline(data, rows, others)
    split, rule = f"all other sources → {name}", "SVM on words"
    return [
        Metric("F1", f"five folds of all → {name}", _f1(toxic, fitted.chances[rows, 0] >= 0.5), _f1(toxic, toxic | True), "all toxic", higher_is_better=True, served=False),
        Metric("ROC AUC", f"five folds of all → {name}", roc_auc_score(toxic, fitted.chances[rows, 0]), 0.5, "chance", higher_is_better=True, served=False),
        Metric("ROC AUC", split, roc_auc_score(toxic, unseen[:, 0] - unseen[:, 1]), roc_auc_score(toxic, words), rule, higher_is_better=True, served=False),
    ]  # fmt: skip


def _baseline(data: Corpus, rows: NDArray[np.int64], others: NDArray[np.int64]) -> Floats:
    texts = np.array([text for part in data.parts for text in part.texts], dtype=object)
    return -_content.plain(texts[others].tolist(), data.labels[others], texts[rows].tolist())


def _f1(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    return float(f1_score(truth, said))
