from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents._text import MAX_SEGMENTS, SEGMENT_CHARS, hashed, ngrams, normalise, segments
from app.events import ContentUploaded


def upload(**fields: object) -> ContentUploaded:
    given_fields = {"title": "t", **fields}
    return ContentUploaded(
        event_id="e", user_id="u", upload_id="v", at=datetime(2026, 1, 1, tzinfo=UTC), **given_fields
    )


@pytest.mark.parametrize(
    ("evasion", "plain"),
    [
        ("IDIOT", "idiot"),
        ("ídïot", "idiot"),
        ("ｉｄｉｏｔ", "idiot"),
        ("id\u200biot", "idiot"),
        ("h4te", "hate"),
        ("st0p", "stop"),
        ("nooooo", "noo"),
    ],
)
def test_evasions_are_undone(evasion: str, plain: str) -> None:
    assert normalise(evasion) == plain


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=20), st.data())
def test_a_row_does_not_depend_on_its_neighbours(texts: list[str], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(texts) - 1))
    together, alone = ngrams([normalise(text) for text in texts])[row], ngrams([normalise(texts[row])])
    assert together.indices.tolist() == alone.indices.tolist()
    assert together.data.tobytes() == alone.data.tobytes()


@given(st.text(max_size=600))
def test_segments_keep_every_character_that_is_no_space(text: str) -> None:
    pieces = segments(upload(title=text))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= SEGMENT_CHARS for piece in pieces)


def test_an_upload_at_its_limits_is_read_to_the_end() -> None:
    text = "word " * 19_999 + "needle"
    event = upload(title="t" * 500, description="d " * 10_000, tags=("tag",) * 200, text=text)
    assert len(segments(event)) < MAX_SEGMENTS
    assert segments(event)[-1].endswith("needle")


def test_the_last_segment_of_a_long_text_lies_in_its_own_columns() -> None:
    row = hashed([upload(text="word " * 1000)])
    assert row.shape[0] == 1
    assert np.all(np.diff(row.indices) > 0)
