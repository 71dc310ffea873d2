from collections import Counter
from datetime import UTC, datetime
from random import Random

import pytest

from app.codec import Decoder, encode
from app.events import AnyUpload, ContentUpdated, ContentUploaded
from simulator.uploads import UploadMaker

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
decoder: Decoder[AnyUpload] = Decoder(AnyUpload)
make = UploadMaker("test", seed=3)


def first(number: int) -> ContentUploaded:
    upload = make(number, NOON, Random(f"3/{number}"))[0]
    assert isinstance(upload, ContentUploaded)
    return upload


@pytest.fixture(scope="module")
def texts() -> list[set[str]]:
    return [
        set(zip(words, words[1:], words[2:], strict=False))
        for words in (first(n).description.split() for n in range(400))
    ]


def alike(a: set[str], b: set[str]) -> float:
    return len(a & b) / max(1, len(a | b))


def test_every_upload_is_valid_and_an_update_follows_its_upload() -> None:
    updates = 0
    for number in range(300):
        events = make(number, NOON, Random(number))
        assert [decoder.decode(encode(event)) for event in events] == list(events)
        if len(events) == 2:
            updates += 1
            assert isinstance(events[1], ContentUpdated)
            assert events[1].at > events[0].at
            assert (events[1].subject_id, events[1].user_id) == (events[0].subject_id, events[0].user_id)
    assert 10 < updates < 45


def test_the_sorts_come_in_their_shares() -> None:
    sorts = Counter(make.sort(number) for number in range(2000))
    assert 0.76 < sorts["harmless"] / 2000 < 0.84
    assert all(0.04 < sorts[name] / 2000 < 0.10 for name in ("spam", "toxic", "copy"))


def test_a_copy_is_nearly_an_earlier_text_of_somebody_else_and_nothing_else_is(texts: list[set[str]]) -> None:
    found = 0
    for number in range(400):
        if make.sort(number) == "harmless":
            assert max((alike(texts[number], texts[n]) for n in range(number)), default=0) < 0.7
        elif make.sort(number) == "copy":
            original = max(range(number), key=lambda n: alike(texts[number], texts[n]))
            assert alike(texts[number], texts[original]) > 0.6
            assert first(original).user_id != first(number).user_id
            found += 1
    assert found > 10


def test_the_same_upload_is_made_again_from_its_number() -> None:
    assert first(42) == first(42)
    assert first(42).description != first(43).description
