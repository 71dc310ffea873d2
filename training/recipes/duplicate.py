"""Recipe of `duplicate`: the PAN pairs teach how alike two texts must be for one to be a copy of the other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from agents._duplicates import DuplicateIndex, Match, Version
from agents._fingerprint import PAIR_FEATURES, Fingerprint, Floats, comparable, compare, fingerprints, whole_text
from training.data import content
from training.data.content import Labels
from training.recipe import Job, Metric, Trained, recipe

LICENCE = "PAN (no licence stated); measured on Kaggle trending (CC0)."
PUBLISHED, FOLDS = 0.923, 5
LENGTHS = [PAIR_FEATURES.index(name) for name in ("shared", "shared_content", "smaller", "larger", "ratio")]
RISING = ("jaccard", "containment", "content_jaccard", "content_containment")
TREES = 150

STRANGER_WEIGHT = 5.0
"""An index offers many strangers to a copy. With 1 (and six words enough) 3.0 % of real titles reached 0.7, not 0.5 %."""

SAME_SOURCE = 0.5
"""PAN quotes some books twice: two texts of different pairs that share half their words are no strangers."""

CUTS = {"remove": 0.95, "review": 0.7}


@recipe("duplicate", data=(*content.PAIRS, content.TRENDING), licence=LICENCE)
def train(job: Job) -> Trained:
    data = _read(job)
    everything, alike = list(range(len(PAIR_FEATURES))), [n for n in range(len(PAIR_FEATURES)) if n not in LENGTHS]
    chances, pan_only = (_out_of_fold(job, data, everything, weight) for weight in (STRANGER_WEIGHT, 0.0))
    booster = _fit(data, np.arange(len(data.copied)), job.seed, everything)
    extra: dict[str, dict[str, Any]] = {
        "thresholds": _thresholds(chances, data),
        "real_uploads": _real(job.data, booster),
        "found_by_the_index": data.recall,
    }
    word = _best_cut(data.pairs[data.judged, 0], data.copied[data.judged])
    rule, split = "word Jaccard, best cut", "PAN, 5 folds by text"
    return Trained(
        files={"model.txt": booster.model_to_string().encode()},
        metrics=[
            Metric("accuracy, PAN alone", split, _accuracy(pan_only, data), word, rule, PUBLISHED, higher_is_better=True, served=False),
            Metric("accuracy, with strangers", split, _accuracy(chances, data), word, rule, PUBLISHED, higher_is_better=True, served=False),
            Metric("accuracy, no lengths", split, _accuracy(_out_of_fold(job, data, alike, 0.0), data), word, rule, higher_is_better=True, served=False),
            Metric("ROC AUC, with strangers", split, _auc(chances, data), _auc(data.pairs[:, 0], data), "word Jaccard", higher_is_better=True, served=False),
        ],
        rows=len(data.copied),
        split="Five folds; pairs with the same first text stay together.",
        about=(
            "How likely an upload repeats an earlier one by another user: the best match that the index finds (by "
            "MinHash bands over title, description and text together), judged by how many words the two share. "
            "Learned from PAN's pairs, and from strangers: of each first text, the most similar text of "
            "another pair that the index finds, which is no copy; and from texts beside themselves."
        ),
        limits=[
            *_in_words(extra),
            "Fewer than eight distinct content words are too short to be compared: similarity 0. Tags are not compared.",
            ("PAN's copies are shorter than its other pairs, which alone tells 0.79 of them; that is why a model of PAN "
            "alone takes short texts on the same subject for copies, and the served one learns from strangers too."),
            "The index finds close copies; a thorough rewording shares no key with its source and is not found.",
        ],
        features=PAIR_FEATURES,
        extra=extra,
    )  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """PAN's pairs, then the strangers, then each second text beside itself: PAN has no exact copies.

    Attributes:
        pairs: (n, 9) `PAIR_FEATURES`.
        judged: the rows that are PAN's own.
        recall: share of PAN's pairs that share a key.
    """

    pairs: Floats
    copied: NDArray[np.bool_]
    groups: Labels
    judged: Labels
    recall: dict[str, float]


def _read(job: Job) -> Pairs:
    ours, theirs, copied = content.pairs(job.data)
    kept = np.flatnonzero(np.random.default_rng(job.seed).random(len(copied)) < job.sample)
    groups = np.unique(ours, return_inverse=True)[1][kept]
    first, second = (fingerprints([comparable(some[row]) for row in kept.tolist()]) for some in (ours, theirs))
    pairs = np.stack([compare(*both) for both in zip(first, second, strict=True)])
    matches = _strangers(first, second, groups)
    met = [(row, match.pair) for row, match in enumerate(matches) if match is not None and match.pair[0] < SAME_SOURCE]
    found, strangers = np.array([row for row, _ in met]), np.stack([pair for _, pair in met])
    identical = np.stack([compare(text, text) for text in second])
    return Pairs(
        pairs=np.r_[pairs, strangers, identical],
        copied=np.r_[copied[kept], np.zeros(len(strangers), np.bool_), np.ones(len(identical), np.bool_)],
        groups=np.r_[groups, groups[found], groups],
        judged=np.arange(len(kept)),
        recall=_recall(first, second, pairs[:, 0], copied[kept]),
    )


def _strangers(first: list[Fingerprint], second: list[Fingerprint], groups: Labels) -> list[Match | None]:
    """Of each first text, what the index takes for its source among the texts of other pairs."""
    authors = [str(group) for group in groups.tolist()]
    texts = [*zip(authors, second, strict=True), *zip(authors, first, strict=True)]
    arriving = [Version(row, author, f"t{row}", row, text) for row, (author, text) in enumerate(texts)]
    index = DuplicateIndex("sqlite://")
    matches = index.match(arriving)[len(second) :]
    index.close()
    return matches


def _fit(data: Pairs, rows: Labels, seed: int, columns: list[int], weight: float = STRANGER_WEIGHT) -> lightgbm.Booster:
    names = [PAIR_FEATURES[n] for n in columns]
    weights = np.where(np.isin(rows, data.judged) | data.copied[rows], 1.0, weight)
    rows, weights = rows[weights > 0], weights[weights > 0]
    settings = {
        "objective": "binary",
        "num_leaves": 15,
        "learning_rate": 0.05,
        "min_data_in_leaf": 40,
        "monotone_constraints": [int(name in RISING) for name in names],
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
        "verbose": -1,
    }
    table = lightgbm.Dataset(data.pairs[rows][:, columns], data.copied[rows], weight=weights, feature_name=names)
    return lightgbm.train(settings, table, TREES)


def _out_of_fold(job: Job, data: Pairs, columns: list[int], weight: float) -> Floats:
    chances = np.zeros(len(data.copied))
    for number, (train, test) in enumerate(GroupKFold(FOLDS).split(data.pairs, data.copied, data.groups)):
        job.progress("cross-validating", number / FOLDS)
        chances[test] = _fit(data, train, job.seed, columns, weight).predict(data.pairs[test][:, columns])
    return chances


def _accuracy(chances: Floats, data: Pairs) -> float:
    return float(((chances >= 0.5) == data.copied)[data.judged].mean())


def _auc(values: Floats, data: Pairs) -> float:
    return float(roc_auc_score(data.copied[data.judged], values[data.judged]))


def _best_cut(values: Floats, truth: NDArray[np.bool_]) -> float:
    return max(float(((values >= cut) == truth).mean()) for cut in np.quantile(values, np.linspace(0, 1, 200)))


def _thresholds(chances: Floats, data: Pairs) -> dict[str, dict[str, float]]:
    """How good the two cuts of the policy are on PAN's pairs, and the share of the strangers they hit."""
    copied, judged = data.copied[data.judged], chances[data.judged]
    return {
        name: {
            "value": cut,
            "precision": round(float(copied[judged >= cut].mean()), 3),
            "recall": round(float((judged[copied] >= cut).mean()), 3),
            "share_of_strangers": round(float((chances[len(copied) :][~data.copied[len(copied) :]] >= cut).mean()), 4),
        }
        for name, cut in CUTS.items()
    }


def _in_words(found: dict[str, dict[str, Any]]) -> list[str]:
    """What was measured beside the metrics, as sentences of the card."""
    real, keys = found["real_uploads"], found["found_by_the_index"]
    cuts = (
        f"{name} at {one['value']} (precision {one['precision']}, recall {one['recall']}, {one['share_of_strangers']:.2%} of "
        f"strangers, {real[name]:.2%} of real uploads)"
        for name, one in found["thresholds"].items()
    )
    shares = (f"{share:.1%} of {whose}" for whose, share in keys.items())
    return [f"Thresholds, out of fold: {'; '.join(cuts)}.", f"The index finds {'; '.join(shares)}."]


def _recall(
    first: list[Fingerprint], second: list[Fingerprint], jaccard: Floats, copied: NDArray[np.bool_]
) -> dict[str, float]:
    """Share of the pairs that share a key, where both texts are long enough to have any."""
    long_enough = np.array([bool(one.keys and other.keys) for one, other in zip(first, second, strict=True)])
    shares = np.array([not set(one.keys).isdisjoint(other.keys) for one, other in zip(first, second, strict=True)])
    chosen = {
        "copies": copied,
        "copies, Jaccard 0.5 and more": copied & (jaccard >= 0.5),
        "copies, Jaccard 0.7 and more": copied & (jaccard >= 0.7),
        "other pairs": ~copied,
    }
    return {name: round(float(shares[rows & long_enough].mean()), 3) for name, rows in chosen.items()}


def _real(root: Path, booster: lightgbm.Booster) -> dict[str, float]:
    """Share of real uploads that would be taken for a copy of another channel's, all sent through an index."""
    found = content.trending(root)
    texts = fingerprints([whole_text(event) for _, event in found])
    arriving = [
        Version(row, channel, event.upload_id, row, text)
        for row, ((channel, event), text) in enumerate(zip(found, texts, strict=True))
    ]
    index = DuplicateIndex("sqlite://")
    pairs = [match.pair for match in index.match(arriving) if match is not None]
    index.close()
    chances = np.asarray(booster.predict(np.stack(pairs)) if pairs else np.zeros(0))
    return {name: round(float((chances >= cut).sum() / len(found)), 4) for name, cut in CUTS.items()}
