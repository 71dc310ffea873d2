"""How likely an upload is spam (advertising, begging for clicks, scams): the probability of its worst segment."""

from collections.abc import Sequence

from scipy.sparse import csr_matrix

from agents._linear import linear_text
from agents._signals import with_signals
from agents._text import hashed
from app.agent import agent
from app.events import ContentUpdated, ContentUploaded, UploadEvent


@agent("spam", consumes=(ContentUploaded, ContentUpdated), unit="probability", low=0, high=1, load=linear_text)
def spam(uploads: Sequence[UploadEvent]) -> csr_matrix:
    """(n, segments * buckets): the hashed n-grams of title, description, tags and text, and their signals."""
    return hashed(uploads, with_signals)
