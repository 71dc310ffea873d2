import numpy as np
import pytest

from agents._linear import LinearText, pack, unpack
from agents._text import ngrams, normalise
from training.recipes import _linear

GOOD = ["lovely day at the sea", "bread with my aunt", "the old town in spring", "a song for the road"]
BAD = ["buy cheap pills now", "cheap pills for you", "win money now", "buy now and win"]


def test_packed_weights_keep_their_sign_and_size() -> None:
    weights = np.random.default_rng(0).normal(size=(1000, 3)) ** 3
    error = np.abs(unpack(*pack(weights)) - weights).max(axis=0)
    assert np.all(error <= 0.01 * np.abs(weights).max(axis=0))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_trained_model_tells_its_classes_apart_and_its_chances_sum_to_one(classes: int) -> None:
    texts = [f"{text} {word}" for text in BAD + GOOD for word in ("today", "again", "soon", "here", "there")]
    labels = np.repeat([0, classes - 1], 20)
    labels[20:30] = 1
    grams = ngrams([normalise(text) for text in texts])
    model = _linear.fit(grams, labels, np.ones(40), np.arange(40), seed=1)
    assert isinstance(model, LinearText)
    chances = model.probabilities(ngrams([normalise("cheap pills now"), normalise("spring at the sea")]))
    assert chances.sum(axis=1) == pytest.approx([1, 1])
    assert chances[0, 0] > chances[1, 0]


def test_a_group_is_in_one_fold() -> None:
    labels, groups = np.tile([0, 1], 50), np.repeat(np.arange(25), 4)
    for train, test in _linear.folds(labels, groups, seed=1):
        assert not set(groups[train]) & set(groups[test])
