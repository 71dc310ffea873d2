"""Recipe of `spam`: comments under three videos and text messages, with real uploads as background."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from agents._signals import with_signals
from agents._text import hashed
from training.data import content
from training.recipe import Job, Metric, Trained, recipe
from training.recipes import _content, _linear
from training.recipes._content import Corpus

LICENCE = "UCI 380 and UCI 228 (both CC BY 4.0), Kaggle trending (CC0)."
REFERENCE = 0.944
"""F1 of a plain baseline, leaving one video out: to beat."""

COMMENT_WEIGHT = 3.0
"""Of a comment beside a text message: there are few, and they are nearer to what is uploaded."""


@recipe("spam", data=(*content.VIDEOS, content.SMS, content.TRENDING), licence=LICENCE)
def train(job: Job) -> Trained:
    root = job.data
    comments = [content.comments(root, video).weighing(COMMENT_WEIGHT) for video in content.VIDEOS]
    data = _content.corpus(job, [*comments, content.sms(root), _content.background(root, 1)], with_signals)
    fitted = _content.fit(job, data)
    found = _content.thresholds(data, fitted, _content.benign(job, data, fitted))
    messages = data.rows(content.SMS)
    spam, chances = data.labels[messages] == 0, fitted.chances[messages, 0]
    return Trained(
        files=fitted.files,
        metrics=[
            *_by_video(job, data),
            Metric("F1", "five folds of all → text messages", _f1(spam, chances >= 0.5), _f1(spam, spam | True), "all spam", higher_is_better=True, served=False),
            Metric("ROC AUC", "five folds of all → text messages", roc_auc_score(spam, chances), 0.5, "chance", higher_is_better=True, served=False),
        ],
        rows=len(data.labels),
        split="By video for the comments (one left out, trained on everything else); by group in five folds for the rest.",
        about=(
            "The probability that an upload is spam: of its segments of at most 140 characters (title, description, "
            "tags, text), the highest. It reads words and characters, and how much capitals, links, numbers and "
            "exclamation marks there are. Titles and tags of trending videos count as no spam."
        ),
        limits=[
            _content.in_words(found),
            ("Comments and text messages of 2006-2015. No data set judges descriptions of uploads, where a link or "
            "'subscribe' is normal: expect it to overrate them."),
            "The maximum over segments: the more text, the more chances of a false alarm.",
        ],
        extra={"thresholds": found},
    )  # fmt: skip


def _by_video(job: Job, data: Corpus) -> list[Metric]:
    """F1 on each video's comments, by a model that saw everything but that video, and the same over all three."""
    judged = [_leave_out(job, data, video) for video in content.VIDEOS]
    together = tuple(np.concatenate(parts) for parts in zip(*judged, strict=True))
    names = [video.rsplit("-", 1)[1].removesuffix(".csv") for video in content.VIDEOS]
    return [
        Metric("F1", "comments, one video left out", *_pair(together), "SVM on words", REFERENCE, higher_is_better=True, served=False),
        *(
            Metric("F1", f"all but {name} → {name}", *_pair(one), "SVM on words", higher_is_better=True, served=False)
            for name, one in zip(names, judged, strict=True)
        ),
    ]  # fmt: skip


def _leave_out(job: Job, data: Corpus, video: str) -> tuple[NDArray[np.bool_], ...]:
    """Truth, what the model says, what the baseline (trained on the other videos) says."""
    test = data.rows(video)
    train = np.setdiff1d(np.arange(len(data.labels)), test)
    model = _linear.fit(data.grams[train], data.labels[train], data.weights[train], data.groups[train], job.seed)
    events = data.events()
    said = model.predict(hashed([events[row] for row in test], data.prepare)) >= 0.5
    others = [part for part in data.parts if part.source in content.VIDEOS and part.source != video]
    texts, labels = [text for part in others for text in part.texts], np.concatenate([part.labels for part in others])
    words = _content.plain(texts, labels, [text for part in data.parts if part.source == video for text in part.texts])
    return data.labels[test] == 0, said, words < 0


def _pair(judged: tuple[NDArray[np.bool_], ...]) -> tuple[float, float]:
    truth, said, words = judged
    return _f1(truth, said), _f1(truth, words)


def _f1(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    return float(f1_score(truth, said))
