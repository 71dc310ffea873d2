from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random

import numpy as np
import pytest

from app.agent import Values, find
from app.codec import Decoder, encode
from app.events import AnyUpload, ContentUpdated, ContentUploaded
from app.registry import Registry, shipped_root
from simulator.uploads import SORTS, UploadMaker

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
decoder: Decoder[AnyUpload] = Decoder(AnyUpload)
make = UploadMaker("test", seed=3)
Scored = dict[str, dict[str, Values]]


@cache
def first(number: int) -> ContentUploaded:
    upload = make(number, NOON + timedelta(seconds=number), Random(f"3/{number}"))[0]
    assert isinstance(upload, ContentUploaded)
    return upload


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """What the shipped models say of 1,500 uploads, those of a sort together: sort -> model -> values."""
    uploads, scored = [first(n) for n in range(1500)], {}
    registry = Registry(shipped_root())
    for name in ("toxicity", "spam", "duplicate"):
        agent = find(name)
        index = agent.shared(f"sqlite:///{tmp_path_factory.mktemp('index')}/index.db") if agent.shared else None
        scored[name] = agent.score(agent.load(registry.load(name)), uploads, index).values
    sorts = np.array([make.sort(n) for n in range(1500)])
    return {sort: {name: values[sorts == sort] for name, values in scored.items()} for sort in SORTS}


def share(values: Values, threshold: float) -> float:
    return float((values >= threshold).mean())


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
    assert 0.80 < sorts["harmless"] / 2000 < 0.86
    assert all(0.035 < sorts[name] / 2000 < 0.08 for name in ("spam", "toxic", "copy"))


def test_copies_are_found_and_hardly_anything_else_looks_like_one(said: Scored) -> None:
    assert share(said["copy"]["duplicate"], 0.7) >= 0.95
    assert share(said["harmless"]["duplicate"], 0.7) < 0.02
    assert share(said["spam"]["duplicate"], 0.7) < 0.10
    assert share(said["toxic"]["duplicate"], 0.7) < 0.10


def test_spam_and_insults_are_found_and_the_harmless_mostly_left_alone(said: Scored) -> None:
    assert share(said["spam"]["spam"], 0.3) > 0.9
    assert share(said["toxic"]["toxicity"], 0.5) > 0.9
    assert share(said["harmless"]["spam"], 0.3) < 0.05
    assert share(said["harmless"]["toxicity"], 0.5) < 0.07


def test_a_copy_is_of_an_earlier_upload_of_somebody_else() -> None:
    copies = [n for n in range(400) if make.sort(n) == "copy"]
    assert len(copies) > 10
    for number in copies:
        words = set(first(number).description.split())
        original = max(range(number), key=lambda n: len(words & set(first(n).description.split())))
        assert len(words & set(first(original).description.split())) > 0.6 * len(words)
        assert first(original).user_id != first(number).user_id


def test_the_same_upload_is_made_again_from_its_number() -> None:
    assert first(42) == first(42)
    assert first(42).description != first(43).description
