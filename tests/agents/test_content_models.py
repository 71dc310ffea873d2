"""The shipped models on uploads anybody would judge alike."""

from datetime import UTC, datetime

import numpy as np
import pytest

from app import agent
from app.events import ContentUploaded
from app.registry import Registry, shipped_root

NAMES = ("toxicity", "hate", "spam")
HARMLESS = "Baking bread at home with my grandmother"
INSULT = "You are a stupid fucking idiot and everybody hates you, bitch"
ADVERT = "FREE!!! Make $5000 a week from home, click http://win-cash.example and subscribe to my channel NOW"


def upload(number: int = 0, **fields: object) -> ContentUploaded:
    texts = {"title": HARMLESS, **fields}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ContentUploaded(event_id=f"e{number}", user_id="u", upload_id=f"v{number}", at=at, **texts)


def values(name: str, events: list[ContentUploaded]) -> np.ndarray:
    found = agent.find(name)
    return found.score(found.load(Registry(shipped_root()).load(name)), events).values


@pytest.mark.parametrize(("name", "bad"), [("toxicity", INSULT), ("spam", ADVERT)])
@pytest.mark.parametrize("field", ["title", "description", "text"])
def test_bad_content_is_seen_in_any_field(name: str, bad: str, field: str) -> None:
    harmless, offending = values(name, [upload(), upload(**{field: bad})])
    assert harmless < 0.5 < 0.8 < offending


def test_an_insult_in_the_middle_of_a_long_description_is_seen() -> None:
    padding = "We walked along the river and took photographs of the old town in the evening light. " * 100
    alone, hidden = values("toxicity", [upload(text=INSULT), upload(description=f"{padding} {INSULT} {padding}")])
    assert hidden > 0.6 * alone


@pytest.mark.parametrize("name", NAMES)
def test_the_same_row_has_the_same_bits_in_any_batch(name: str) -> None:
    texts = [INSULT, ADVERT, HARMLESS, "", "ö", INSULT * 9, "a b c " * 500]
    events = [upload(number, description=texts[number % len(texts)][number % 5 :]) for number in range(71)]
    together = values(name, events)
    for size in (1, 2, 3, 7, 64):
        parts = [values(name, events[start : start + size]) for start in range(0, len(events), size)]
        assert np.concatenate(parts).tobytes() == together.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_upload_without_a_word_has_a_value(name: str) -> None:
    assert 0 <= values(name, [upload(title=" ")])[0] <= 1


def test_hate_tells_the_other_classes_too() -> None:
    hate = agent.find("hate")
    scores = hate.score(hate.load(Registry(shipped_root()).load("hate")), [upload(), upload(text=INSULT)])
    for value, detail in zip(scores.values.tolist(), scores.details, strict=True):
        assert detail is not None
        assert value + float(str(detail["offensive"])) + float(str(detail["neither"])) == pytest.approx(1, abs=1e-3)
