from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from agents._duplicates import DuplicateIndex
from agents.duplicate import duplicate
from app.agent import Scores
from app.errors import ConfigurationError, ServiceUnavailable
from app.events import ContentUpdated, ContentUploaded
from app.registry import Registry, shipped_root
from app.sql.engine import beside

START = datetime(2026, 1, 1, tzinfo=UTC)
RIVER = (
    "A long walk along the river Danube from Passau to Vienna, past castles, vineyards, quiet villages and ferries, "
    "with notes on inns, bridges, weather and the best bakeries of the whole valley"
)
ENGINE = (
    "How to rebuild a small diesel engine in your garage: pistons, gaskets, crankshaft bearings, injectors, torque "
    "settings, and every mistake that cost me a weekend before the motor finally started"
)


def uploaded(upload_id: str, user: str, text: str, minute: int = 0, title: str = "Video") -> ContentUploaded:
    at = START + timedelta(minutes=minute)
    return ContentUploaded(event_id=f"e-{upload_id}", user_id=user, upload_id=upload_id, at=at, title=title, text=text)


def updated(upload_id: str, user: str, text: str, minute: int) -> ContentUpdated:
    at = START + timedelta(minutes=minute)
    return ContentUpdated(event_id=f"u-{upload_id}", user_id=user, upload_id=upload_id, at=at, title="Video", text=text)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'millrace.db'}"


@pytest.fixture
def index(url: str) -> DuplicateIndex:
    return DuplicateIndex(url)


MODEL = duplicate.load(Registry(shipped_root()).load("duplicate"))


def score(index: DuplicateIndex, *events: ContentUploaded | ContentUpdated) -> Scores:
    return duplicate.score(MODEL, events, index)


def originals(scores: Scores) -> list[object]:
    return [detail and detail["of"] for detail in scores.details]


def test_somebody_who_takes_anothers_ids_hides_nothing(index: DuplicateIndex) -> None:
    scores = score(index, uploaded("a", "eve", ENGINE), uploaded("a", "ann", RIVER, 1), uploaded("b", "bob", RIVER, 2))
    assert originals(scores) == [None, None, "a"]
    assert scores.values[2] > 0.9


def test_a_copy_by_somebody_else_names_its_original(index: DuplicateIndex) -> None:
    copy = RIVER.replace("quiet", "sleepy").replace("best ", "")
    scores = score(index, uploaded("a", "ann", RIVER), uploaded("b", "bob", copy, 1), uploaded("c", "cyd", ENGINE, 2))
    assert originals(scores) == [None, "a", None]
    assert scores.values[1] > 0.9
    assert scores.values[0] == scores.values[2] == 0


def test_ones_own_upload_is_no_duplicate(index: DuplicateIndex) -> None:
    scores = score(index, uploaded("a", "ann", RIVER), uploaded("b", "ann", RIVER, 1), updated("a", "ann", RIVER, 2))
    assert scores.values.tolist() == [0, 0, 0]


def test_the_index_survives_a_restart_and_is_shared(url: str) -> None:
    first = DuplicateIndex(url)
    score(first, uploaded("a", "ann", RIVER))
    first.close()
    assert originals(score(DuplicateIndex(url), uploaded("b", "bob", RIVER, 1))) == ["a"]


def test_an_update_replaces_what_is_compared(index: DuplicateIndex) -> None:
    score(index, uploaded("a", "ann", RIVER), updated("a", "ann", ENGINE, 10))
    late = score(index, uploaded("b", "bob", RIVER, 20), uploaded("c", "cyd", ENGINE, 20))
    assert originals(late) == [None, "a"]


def test_the_past_is_as_it_was(index: DuplicateIndex) -> None:
    score(index, uploaded("a", "ann", RIVER), updated("a", "ann", ENGINE, 10))
    assert originals(score(index, uploaded("d", "dan", RIVER, 5))) == ["a"]


def test_only_earlier_uploads_count_and_a_tie_goes_by_id(index: DuplicateIndex) -> None:
    score(index, uploaded("m", "ann", RIVER, 5))
    assert originals(score(index, uploaded("z", "bob", RIVER, 4))) == [None]
    assert originals(score(index, uploaded("n", "cyd", RIVER, 5), uploaded("k", "dan", RIVER, 4)))[1] in {"z", None}
    assert originals(score(index, uploaded("o", "eve", RIVER, 5))) == ["k"]


def stream() -> list[ContentUploaded | ContentUpdated]:
    words = (RIVER + " " + ENGINE).split()
    rng = np.random.default_rng(7)
    texts = [" ".join(rng.permutation(words)[:30]) for _ in range(12)]
    return [uploaded(f"v{n:03}", f"user{n % 7}", texts[int(rng.integers(12))], n) for n in range(60)]


def test_batches_of_any_size_and_a_second_delivery_give_the_same_bits(tmp_path: Path) -> None:
    answers = []
    for size in (1, 7, 60):
        index = DuplicateIndex(f"sqlite:///{tmp_path / str(size)}.db")
        parts = [stream()[start : start + size] for start in range(0, 60, size)]
        once, again = ([score(index, *part) for part in parts] for _ in range(2))
        answers += [
            (b"".join(part.values.tobytes() for part in scores), [of for part in scores for of in originals(part)])
            for scores in (once, again)
        ]
        index.close()
    assert any(answers[0][1])
    assert all(answer == answers[0] for answer in answers)


def test_a_second_delivery_is_answered_as_the_first_whatever_came_in_between(index: DuplicateIndex) -> None:
    late, earlier = uploaded("b", "bob", RIVER, 5), uploaded("a", "ann", RIVER)
    first = score(index, late)
    assert originals(score(index, earlier, uploaded("c", "cat", RIVER, 6))) == [None, "a"]
    again = score(index, late)
    assert originals(again) == originals(first) == [None]
    assert again.entered == first.entered


def test_an_update_that_came_too_late_counts_for_those_after_it_alone(index: DuplicateIndex) -> None:
    score(index, uploaded("a", "ann", RIVER), uploaded("b", "bob", RIVER, 20))
    assert originals(score(index, updated("a", "ann", ENGINE, 10), uploaded("c", "cat", RIVER, 30))) == [None, "b"]
    assert originals(score(index, uploaded("b", "bob", RIVER, 20))) == ["a"]


def test_what_was_known_before_the_batch_outdates_what_comes_with_it(tmp_path: Path) -> None:
    """The newer version is there already, by other words, when the older one and its copy arrive."""
    parts = [updated("a", "ann", ENGINE, 10)], [uploaded("a", "ann", RIVER), uploaded("b", "bob", RIVER, 20)]
    together, apart = (DuplicateIndex(f"sqlite:///{tmp_path / name}.db") for name in "ta")
    whole = [of for part in parts for of in originals(score(together, *part))]
    assert whole == [of for part in parts for one in part for of in originals(score(apart, one))] == [None] * 3


def test_the_order_in_which_it_was_told_is_all_it_takes_to_say_it_again(database: str, tmp_path: Path) -> None:
    """Three workers at the same time, events out of order, in batches, some a second time by another worker."""
    rng = np.random.default_rng(3)
    events = [stream()[row] for row in rng.permutation(60)]
    batches = [events[start : start + 5] + events[start - 3 : start] for start in range(3, 60, 5)] + [events[:3]]
    workers = Queue[DuplicateIndex]()
    for _ in range(3):
        workers.put(DuplicateIndex(database))

    def work(batch: list[ContentUploaded | ContentUpdated]) -> list[tuple[str, Any]]:
        worker = workers.get()
        try:
            scores = score(worker, *batch)
        finally:
            workers.put(worker)  # else those who wait for one wait for ever
        said = zip(scores.entered, scores.values.tolist(), originals(scores), strict=True)
        return [(event.event_id, one) for event, one in zip(batch, said, strict=True)]

    with ThreadPoolExecutor(3) as pool:
        found = [one for some in pool.map(work, batches) for one in some]
    said = dict(found)
    assert set(said.items()) == set(found), "a second delivery is answered as the first"
    order = sorted(events, key=lambda event: said[event.event_id][0])
    fresh = score(DuplicateIndex(f"sqlite:///{tmp_path / 'fresh.db'}"), *order)
    again = zip(fresh.values.tolist(), originals(fresh), strict=True)
    assert [said[event.event_id][1:] for event in order] == list(again)
    assert any(originals(fresh))


def test_numbers_go_on_rising_behind_an_index_that_was_deleted(tmp_path: Path) -> None:
    numbers = [score(DuplicateIndex(f"sqlite:///{tmp_path / name}.db"), *stream()).entered for name in "ab"]
    flat = [number for some in numbers for number in some]
    assert flat == sorted(set(flat))


def test_an_index_of_another_version_is_no_fault_of_the_uploads(url: str) -> None:
    with create_engine(beside(url, "duplicates")).begin() as connection:
        connection.execute(text("CREATE TABLE duplicate_versions (id BIGINT PRIMARY KEY)"))
    with pytest.raises(ServiceUnavailable, match="duplicate_versions has no column at_us"):
        score(DuplicateIndex(url), uploaded("a", "ann", RIVER))


def test_one_that_is_only_asked_remembers_nothing_and_answers_what_was_answered_live(url: str) -> None:
    index, asked = DuplicateIndex(url), DuplicateIndex(url, remember=False)
    events = [uploaded("a", "ann", RIVER), uploaded("b", "bob", RIVER, 1), uploaded("c", "cat", ENGINE, 2)]
    assert originals(score(asked, *events)) == [None, None, None], "no row sees another"
    live = score(index, *events)
    assert originals(live) == [None, "a", None]
    assert score(asked, *events).values.tobytes() == live.values.tobytes()
    stranger = uploaded("d", "dan", ENGINE, 3)
    assert originals(score(asked, stranger)) == ["c"]
    assert originals(score(asked, uploaded("e", "eve", ENGINE, 4))) == ["c"], "the earlier one is not d"
    assert originals(score(index, updated("c", "cat", "nothing", 5), uploaded("f", "fay", ENGINE, 6))) == [None, None]


def test_a_short_text_is_nobodys(index: DuplicateIndex) -> None:
    scores = score(index, uploaded("a", "ann", "", title="My holiday"), uploaded("b", "bob", "", 1, title="My holiday"))
    assert scores.values.tolist() == [0, 0]


def test_a_text_of_the_greatest_length_is_compared(index: DuplicateIndex) -> None:
    rng = np.random.default_rng(1)
    text = " ".join("".join(chr(97 + letter) for letter in rng.integers(26, size=6)) for _ in range(14_000))
    assert originals(score(index, uploaded("a", "ann", text), uploaded("b", "bob", f"{text} indeed", 1))) == [None, "a"]


def test_a_database_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    (tmp_path / "x-duplicates.db").mkdir()
    index = DuplicateIndex(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(ServiceUnavailable, match="database"):
        score(index, uploaded("a", "ann", RIVER))


def test_a_url_nobody_understands_is_an_error_at_start() -> None:
    with pytest.raises(ConfigurationError, match="MILLRACE_DATABASE"):
        DuplicateIndex("not a url")
