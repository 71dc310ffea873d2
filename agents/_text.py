"""Text to numbers for the content agents: normalise, cut into segments, hash n-grams; stateless and vectorised.

An upload becomes one CSR row that holds all its segments side by side (`MAX_SEGMENTS * BUCKETS` columns), so that
the model (`agents._linear`) can judge each segment by itself and answer for the worst: a slur in the middle of a
long description weighs as much as one in the title.
"""

import html
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from app.events import UploadEvent

HALF_BITS = 17
BUCKETS = 2 << HALF_BITS
"""Columns of one segment: the first half for words and pairs of words, the second for runs of characters."""

MAX_SEGMENTS = 4096
"""More than an upload at the limits of its schema has; with more, columns would need 64-bit indices."""

SEGMENT_CHARS = 140
"""The length of a tweet of 2017, which is what most of the training texts are."""

URL, USER, NUMBER = "\ue000", "\ue001", "\ue002"
"""Private-use characters that stand for any web address, any mention, any number as long as a telephone's."""

_WINDOW = re.compile(rf"\S(?:.{{0,{SEGMENT_CHARS - 1}}}(?=\s|\Z)|.{{0,{SEGMENT_CHARS - 1}}})", re.DOTALL)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_LINK = re.compile(r"(?:https?://|www\.)\S+|\burl\b")  # OLID writes URL for every link
_MENTION = re.compile(r"(?:\brt\s+)?@\w+:?")
_DIGITS = re.compile(r"\d(?:[ -]?\d){6,}|\d{5,}")
_REPEATED = re.compile(r"(.)\1{2,}", re.DOTALL)
_LEET = re.compile(r"(?<=[a-z])[013457$@!](?=[a-z])")
_UNLEET = str.maketrans("013457$@!", "oieastsai")
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]")

_CHUNK_CHARS = 65_536  # temporaries stay in the processor's cache
_GRAMS = (2, 3, 4, 5)
_LONGEST = 64
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_POWERS = np.cumprod(np.full(_LONGEST, 0x100000001B3, dtype=np.uint64))  # FNV's prime, modulo 2^64
# A table, so that a count has the same logarithm whatever SIMD lane it falls in.
_LOG_COUNT = (1 + np.log(np.maximum(np.arange(1024), 1))).astype(np.float32)

Ints = NDArray[np.int64]
Codes = NDArray[np.uint64]


def normalise(text: str) -> str:
    r"""The text as the models see it: tokens parted by single spaces, evasions undone.

    Case, accents and compatibility forms are folded, invisible characters dropped, letters repeated more than twice
    cut to two, digits inside words read as letters.

    >>> normalise("Vísit http://x.yz NOW!!!!! sooooo fr3e @you").split()
    ['visit', '\ue000', 'now', '!', '!', 'soo', 'free', '\ue001']
    """
    text = html.unescape(text) if "&" in text else text
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKD", text).replace("’", "'"))
        text = "".join(char for char in text if not unicodedata.combining(char))
    text = text.casefold()
    text = _MENTION.sub(f" {USER} ", _LINK.sub(f" {URL} ", text))
    text = _LEET.sub(lambda found: found[0].translate(_UNLEET), text)
    text = _REPEATED.sub(r"\1\1", _DIGITS.sub(f" {NUMBER} ", text))
    return " ".join(_TOKEN.findall(text))


def segments(event: UploadEvent) -> list[str]:
    """The pieces of an upload that are judged each by itself: title, description, tags, text, cut at white space."""
    fields = (event.title, event.description, ", ".join(event.tags), event.text)
    pieces = [piece for field in fields for piece in _WINDOW.findall(field)]
    return pieces[:MAX_SEGMENTS] or [""]


def hashed(events: Sequence[UploadEvent], prepare: Callable[[str], str] = normalise) -> csr_matrix:
    """The n-grams of n uploads, all segments of one in one row.

    Returns:
        (n, MAX_SEGMENTS * BUCKETS) float32, indices sorted; see `ngrams` for the values.
    """
    pieces = [segments(event) for event in events]
    counts = np.array([len(some) for some in pieces])
    grams = ngrams([prepare(piece) for some in pieces for piece in some])
    ends = np.r_[0, np.cumsum(counts)]
    number = np.arange(ends[-1]) - np.repeat(ends[:-1], counts)
    columns = grams.indices + np.repeat(number * BUCKETS, np.diff(grams.indptr)).astype(np.int32)
    return csr_matrix((grams.data, columns, grams.indptr[ends]), shape=(len(events), MAX_SEGMENTS * BUCKETS))


def ngrams(texts: Sequence[str]) -> csr_matrix:
    """Hashed n-grams of normalised texts: words, pairs of words, and runs of 2-5 characters within a word.

    Returns:
        (n, BUCKETS) float32: 1 + ln(count) of each n-gram of each text, indices sorted.
    """
    return vstack([_chunk_ngrams(chunk) for chunk in text_chunks(texts)], format="csr", dtype=np.float32)


def text_chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts small enough to be worked on in the cache; a longer text is a chunk of its own."""
    ends = np.cumsum([len(text) + 2 for text in texts]) // _CHUNK_CHARS
    cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(texts)]
    return (texts[start:end] for start, end in itertools.pairwise(cuts))


def _chunk_ngrams(texts: Sequence[str]) -> csr_matrix:
    padded = [f" {text} " for text in texts]
    encoded = "".join(padded).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(encoded, dtype=np.uint32).astype(np.uint64)
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    keys = np.concatenate([*_words(codes, owner), *_chars(codes, owner), np.empty(0, np.int64)])
    keys.sort()
    new = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]][: len(keys)])
    counts = np.minimum(np.diff(np.r_[new, len(keys)]), len(_LOG_COUNT) - 1)
    rows, columns = keys[new] // BUCKETS, keys[new] % BUCKETS
    pointers = np.searchsorted(rows, np.arange(len(texts) + 1)).astype(np.int32)
    return csr_matrix((_LOG_COUNT[counts], columns.astype(np.int32), pointers), shape=(len(texts), BUCKETS))


def _keys(owner: Ints, hashes: Codes, kind: int) -> Ints:
    """Row and column of each n-gram as one number; `kind` 0 and 1 are words and pairs, n a run of n characters."""
    mixed = (hashes + np.uint64(kind)) * _PRIME
    mixed ^= mixed >> np.uint64(29)
    mixed *= _PRIME
    bucket = (mixed >> np.uint64(64 - HALF_BITS)).astype(np.int64)
    return owner * BUCKETS + bucket + (BUCKETS // 2 if kind > 1 else 0)


def word_hashes(codes: Codes, owner: Ints) -> tuple[Codes, Ints]:
    """A polynomial hash of every word of space-padded texts, and the text each belongs to."""
    space = codes == ord(" ")
    starts = np.flatnonzero(~space[1:] & space[:-1]) + 1
    if not len(starts):
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    place = np.arange(len(codes)) - np.repeat(np.r_[0, starts], np.diff(np.r_[0, starts, len(codes)]))
    terms = np.where(space, np.uint64(0), codes) * _POWERS[np.minimum(place, _LONGEST - 1)]
    return np.add.reduceat(terms, starts), owner[starts]


def _words(codes: Codes, owner: Ints) -> Iterator[Ints]:
    words, whose = word_hashes(codes, owner)
    yield _keys(whose, words, 0)
    both = whose[1:] == whose[:-1]
    yield _keys(whose[1:][both], words[:-1][both] * _PRIME + words[1:][both], 1)


def _chars(codes: Codes, owner: Ints) -> Iterator[Ints]:
    """Runs of characters that hold a space at most at either end, and at least one character that is none."""
    space = codes == ord(" ")
    before = np.r_[0, np.cumsum(space)]
    hashes = codes * _POWERS[0]
    for n in _GRAMS:
        count = max(len(codes) - n + 1, 0)
        hashes = hashes[:count] + codes[n - 1 :] * _POWERS[n - 1]
        inside = before[n - 1 : n - 1 + count] == before[1 : 1 + count]
        if n == 2:  # two spaces: the end of one text and the start of the next
            inside = ~(space[:count] & space[1 : 1 + count])
        yield _keys(owner[:count][inside], hashes[inside], n)
