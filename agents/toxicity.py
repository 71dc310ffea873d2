"""How likely an upload is to insult, threaten or offend: the probability of its worst segment."""

from collections.abc import Sequence

from scipy.sparse import csr_matrix

from agents._linear import linear_text
from agents._text import hashed
from app.agent import agent
from app.events import ContentUpdated, ContentUploaded, UploadEvent


@agent("toxicity", consumes=(ContentUploaded, ContentUpdated), unit="probability", low=0, high=1, load=linear_text)
def toxicity(uploads: Sequence[UploadEvent]) -> csr_matrix:
    """(n, segments * buckets): the hashed n-grams of title, description, tags and text."""
    return hashed(uploads)
