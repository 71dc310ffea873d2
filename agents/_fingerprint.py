"""What is remembered of a text to recognise its copies: a sample of its words, and keys that likely copies share.

The sample holds the `SAMPLE` words of the smallest hashes, so two samples compare as the whole texts would (all of
the words, up to `SAMPLE`). The keys are MinHash bands (Broder 1997; Indyk & Motwani 1998): texts whose content words
have a Jaccard index of 0.7 share one of them with probability 0.996, of 0.5 with 0.72, of 0.1 with 0.002.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents._text import normalise, text_chunks, word_hashes
from app.events import UploadEvent

BANDS, ROWS = 20, 4
SAMPLE = 128
MIN_WORDS = 8
"""Distinct content words below which a text is too short to be anybody's: two people may well title a film alike."""

PAIR_FEATURES = ("jaccard", "containment", "content_jaccard", "content_containment", "shared", "shared_content",
                 "smaller", "larger", "ratio")  # fmt: skip

_STOP_WORDS = """a about after all also am an and any are as at be because been but by can could did do does down for
from had has have he her here him his how i if in into is it its just like me more my no not now of on one only or
other our out over she so some such than that the their them then there these they this to two up upon us very was we
were what when where which while who will with would you your"""

_generator = np.random.default_rng(20_170_913)
_MULTIPLIERS = _generator.integers(1 << 63, size=BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFT = np.uint64(32)

Hashes = NDArray[np.uint32]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is remembered of one text.

    Attributes:
        sample: hashes of its words, ascending; at most `SAMPLE`.
        words: distinct words it has.
        content: distinct words that are no stop words.
        keys: `BANDS` 63-bit keys; none when it is too short to be compared.
    """

    sample: Hashes
    words: int
    content: int
    keys: tuple[int, ...] = ()


def _hashes(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    padded = [f" {text} " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    words, owner = word_hashes(codes, np.repeat(np.arange(len(texts)), [len(text) for text in padded]))
    mixed = words * np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> _SHIFT
    return mixed * np.uint64(0xC4CEB9FE1A85EC53), owner


_STOP: Hashes = np.unique((_hashes([" ".join(_STOP_WORDS.split())])[0] >> _SHIFT).astype(np.uint32))


def _is_stop(words: Hashes) -> NDArray[np.bool_]:
    place = np.minimum(np.searchsorted(_STOP, words), len(_STOP) - 1)
    return np.asarray(_STOP[place] == words)


def whole_text(event: UploadEvent) -> str:
    """Title, description and text together, normalised.

    Without the tags: those of one broadcaster's shows are the same under every video. With them 3.4 % of the trending
    videos of 2017 were taken for copies.
    """
    return comparable(f"{event.title}\n{event.description}\n{event.text}")


def comparable(text: str) -> str:
    """The normalised words of a text, without its punctuation.

    >>> comparable("Lost Kings - First Love (Official)")
    'lost kings first love official'
    """
    return " ".join(token for token in normalise(text).split() if token[0].isalnum())


def fingerprints(texts: Sequence[str]) -> list[Fingerprint]:
    """The fingerprints of texts that went through `comparable`."""
    return [fingerprint for chunk in text_chunks(texts) for fingerprint in _fingerprints(chunk)]


def _fingerprints(texts: Sequence[str]) -> list[Fingerprint]:
    hashes, owner = _hashes(texts)
    words = (hashes >> _SHIFT).astype(np.uint32)
    stop = _is_stop(words)
    keys = _keys(hashes[~stop], owner[~stop], len(texts))
    cuts = np.searchsorted(owner, np.arange(len(texts) + 1)).tolist()
    found = []
    for row, (start, end) in enumerate(itertools.pairwise(cuts)):
        distinct = np.unique(words[start:end])
        content = len(distinct) - int(_is_stop(distinct).sum())
        shared = tuple(keys[row].tolist()) if content >= MIN_WORDS else ()
        found.append(Fingerprint(distinct[:SAMPLE], len(distinct), content, shared))
    return found


def _keys(hashes: NDArray[np.uint64], owner: NDArray[np.int64], texts: int) -> NDArray[np.int64]:
    """(texts, BANDS) keys; zeros for a text without words."""
    keys = np.zeros((texts, BANDS), dtype=np.int64)
    if not len(hashes):
        return keys
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    lowest = np.minimum.reduceat((hashes[:, None] * _MULTIPLIERS) >> _SHIFT, starts, axis=0)
    rows = lowest.reshape(len(starts), BANDS, ROWS)
    mixed = np.broadcast_to(np.arange(BANDS, dtype=np.uint64), rows.shape[:2])
    for row in range(ROWS):
        mixed = (mixed ^ rows[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
        mixed = mixed ^ (mixed >> np.uint64(29))
    keys[owner[starts]] = (mixed >> np.uint64(1)).astype(np.int64)
    return keys


def compare(one: Fingerprint, other: Fingerprint) -> Floats:
    """The `PAIR_FEATURES` of two texts: exact up to `SAMPLE` words each, estimated beyond."""
    limit = min(_reach(one), _reach(other))
    ours, theirs = (some.sample[: np.searchsorted(some.sample, limit, side="right")] for some in (one, other))
    both = np.intersect1d(ours, theirs, assume_unique=True)
    stops = int(_is_stop(both).sum())
    jaccard = len(both) / max(len(ours) + len(theirs) - len(both), 1)
    ours_content, theirs_content = (len(some) - int(_is_stop(some).sum()) for some in (ours, theirs))
    shared_content = len(both) - stops
    content_jaccard = shared_content / max(ours_content + theirs_content - shared_content, 1)
    shared = jaccard / (1 + jaccard) * (one.words + other.words)
    common = content_jaccard / (1 + content_jaccard) * (one.content + other.content)
    smaller, larger = sorted((one.words, other.words))
    return np.array(
        [
            jaccard,
            min(shared / max(smaller, 1), 1.0),
            content_jaccard,
            min(common / max(min(one.content, other.content), 1), 1.0),
            shared,
            common,
            smaller,
            larger,
            smaller / max(larger, 1),
        ]
    )


def _reach(one: Fingerprint) -> int:
    """The largest hash up to which the sample is complete."""
    return int(one.sample[-1]) if len(one.sample) == SAMPLE else 0xFFFFFFFF
