"""How likely an upload is hate speech, as against merely offensive or neither: the probability of its worst segment."""

from collections.abc import Sequence

from scipy.sparse import csr_matrix

from agents._linear import Floats, LinearText, linear_text
from agents._text import hashed
from app.agent import agent
from app.events import ContentUpdated, ContentUploaded, UploadEvent
from app.predictions import Detail


def _others(model: LinearText, _: Sequence[UploadEvent], features: csr_matrix, __: Floats) -> list[Detail]:
    """The probabilities of the other two classes, in the same segment."""
    return [
        {"offensive": round(offensive, 4), "neither": round(neither, 4)}
        for _, offensive, neither in model.probabilities(features).tolist()
    ]


@agent(
    "hate",
    consumes=(ContentUploaded, ContentUpdated),
    unit="probability",
    low=0,
    high=1,
    load=linear_text,
    detail=_others,
)
def hate(uploads: Sequence[UploadEvent]) -> csr_matrix:
    """(n, segments * buckets): the hashed n-grams of title, description, tags and text."""
    return hashed(uploads)
