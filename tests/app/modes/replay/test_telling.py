"""A state that workers share, replayed and checked in the order in which it was told, which the log does not keep."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.codec import Record
from app.errors import ConfigurationError
from app.events import ContentUploaded
from app.modes.replay.plan import Chosen, Span, TopicRange
from app.modes.replay.score import load
from app.modes.replay.sources import TopicSource
from app.modes.replay.telling import LAST, Turns, in_turn
from app.modes.replay.verify import said_on_topic, verify
from app.modes.stream import Loop, Ready
from app.predictions import Prediction
from app.registry import Registry, shipped_root
from app.testing import Events
from app.topics import UPLOADS, Topic
from tests.app.modes.replay.faults import Died, Once
from tests.app.modes.replay.named import Named

WORDS = "a long enough description of how to sharpen a kitchen knife on a wet stone without a guide or a machine"


def copies(name: str, count: int) -> list[ContentUploaded]:
    """Texts by many users, each third one the same as all the other thirds."""
    maker = Events(name)
    texts = [WORDS if number % 3 == 0 else f"{number} words of another kind" for number in range(count)]
    return [maker.upload(user_id=f"{name}-{number}", description=text) for number, text in enumerate(texts)]


def record(offset: int, timestamp_ms: int = 0) -> Record:
    return Record("uploads", 0, offset, timestamp_ms, None, None)


def test_what_was_not_told_comes_before_the_next_that_was_and_what_is_not_answered_yet_last() -> None:
    turns = Turns([7, 3, 5, 3, 6], [90, 40, 70, 50, 0])
    asked = {offset: turns.of(record(offset, offset)) for offset in range(1, 10)}
    assert asked == {
        1: (0, 1),
        2: (0, 2),
        3: (40, 3),
        4: (70, 4),
        5: (70, 5),
        6: (0, 6),
        7: (90, 7),
        8: (LAST, 8),
        9: (LAST, 9),
    }
    assert Turns([], []).of(record(0, 5)) == (LAST, 5)


@pytest.fixture
def ready(stage: Any) -> Ready:
    found = load(Chosen("duplicate", "1"), Registry(shipped_root()))
    return replace(found, agent=replace(found.agent, name=stage.name))


@pytest.fixture
def live(stage: Any, ready: Ready, tmp_path: Path) -> Any:
    """Run a worker of the agent until it has answered so many."""
    database = f"sqlite:///{tmp_path / 'live.db'}"
    settings = stage.settings.model_copy(update={"database": database, "score_timeout": timedelta(seconds=20)})

    async def run(count: int) -> list[Prediction]:
        topic: Topic = replace(UPLOADS, name=stage.topic.name)
        await stage.finished(Loop(ready, [topic], stage.producer, settings), count)
        said: list[Prediction] = await stage.answers()
        return said

    return run


def source_of(stage: Any) -> TopicSource:
    topic: Topic = replace(UPLOADS, name=stage.topic.name)
    return TopicSource(stage.settings, TopicRange(), 7, lambda _: [topic])


async def put(stage: Any, desk: Any, uploads: Sequence[ContentUploaded]) -> None:
    await stage.put(desk.outgoing(uploads, stage.topic.name))


async def test_the_order_of_partitions_is_that_of_the_live_workers(
    stage: Any, desk: Any, live: Any, ready: Ready
) -> None:
    """A worker finds a backlog, and takes a partition at a time, which is neither the order of time nor any other."""
    first, second = copies(f"{stage.name}a", 60), copies(f"{stage.name}b", 60)
    for upload in first:  # one by one, so that by time partitions are mixed
        await put(stage, desk, [upload])
    await live(60)
    await put(stage, desk, second)
    said = await live(120)
    waiting = copies(f"{stage.name}c", 3)
    await put(stage, desk, waiting)
    numbers = [each.entered for each in said]
    assert len(set(numbers)) == len(said) == 120
    source = source_of(stage)
    count = stage.settings.partitions
    found = await verify(ready, source, said_on_topic(stage.settings.kafka, count, stage.name), desk.directory)
    assert (found.same, found.differing, found.unsaid, found.unnumbered) == (120, 0, 3, 0)
    (span,) = await source.spans(ready.agent)
    by_time = [one.value async for some in source.slices(Span(span.parts), 0) for one in some.records]
    in_order = [one.value async for some in source.slices(span, 0) for one in some.records]
    assert sorted(by_time) == sorted(in_order)
    assert by_time != in_order

    named = Named(source, ready)
    kept = await desk.done("r", "duplicate", named)
    assert {row[2]: row[4] for row in kept if row[2] in {each.event_id for each in said}} == {
        each.event_id: each.value for each in said
    }
    book = await desk.begun("hurt", "duplicate", named)
    with pytest.raises(Died):
        await desk.worker(book, "duplicate", Once(named, 3)).run()
    await desk.worker(book, "duplicate", named).run()
    assert desk.kept("hurt") == kept


async def test_predictions_without_a_number_are_compared_in_the_order_of_time_and_counted(
    stage: Any, desk: Any, live: Any, ready: Ready
) -> None:
    for upload in copies(stage.name, 9):
        await put(stage, desk, [upload])
    said = await live(9)

    async def old() -> Any:
        yield [msgspec.structs.replace(each, entered=None) for each in said]

    found = await verify(ready, source_of(stage), old(), desk.directory)
    assert (found.same + found.differing, found.unnumbered) == (9, 9)


async def test_a_run_that_could_not_tell_the_order_any_more_is_not_continued(
    stage: Any, desk: Any, live: Any, ready: Ready
) -> None:
    await put(stage, desk, copies(stage.name, 9))
    await live(9)
    (span,) = await source_of(stage).spans(ready.agent)
    (order, *_) = span.told
    gone = replace_first(order, -1)
    with pytest.raises(ConfigurationError, match="has forgotten what lay before"):
        await anext(in_turn(stage.settings.kafka, msgspec.structs.replace(span, told=(gone,)), resumed=True), None)


def replace_first(order: Any, first: int) -> Any:
    return msgspec.structs.replace(order, part=msgspec.structs.replace(order.part, first=first))
