"""Replays of topics on the real broker: the same bits as the loop, whatever happens on the way."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from app import topic_admin
from app.agent import find
from app.bus import Delivered, Outgoing, Producer
from app.codec import Decoder, header
from app.errors import ConfigurationError
from app.modes.consuming.read import reader
from app.modes.replay.plan import Chosen
from app.modes.replay.score import load
from app.modes.replay.targets import ParquetTarget, TopicTarget
from app.modes.replay.verify import verify
from app.modes.stream import Loop
from app.predictions import Prediction
from app.registry import Registry, shipped_root
from app.testing import START, Events
from app.topics import REPLAYED
from tests.app.modes.replay.faults import Died, Once, Seldom

BAD = b'{"type": "millrace.ride.requested.v1"'


class Torn:
    """A producer whose process dies after a delivery, before it can say so."""

    def __init__(self, producer: Producer, deliveries: int) -> None:
        self._producer, self._left = producer, deliveries

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        delivered = await self._producer.send(records)
        self._left -= 1
        if self._left < 0:
            raise Died
        return delivered

    async def close(self) -> None:
        await self._producer.close()


@pytest.fixture
async def rides(stage: Any, desk: Any) -> Any:
    """A topic with 60 whole rides and a record nobody can read; the stage knows it."""
    await stage.put(desk.outgoing(desk.lives(60), stage.topic.name))
    await stage.put([Outgoing(stage.topic.name, b"u1", BAD)])
    return stage


async def live(stage: Any, agent: Any, count: int) -> list[Prediction]:
    """What the loop says of the topic."""
    ready = load(Chosen(agent.name, "1"), Registry(shipped_root()))
    named = replace(ready.agent, name=stage.name)
    loop: Loop = stage.loop(named, ready.model)
    await stage.finished(loop, count)
    return list(await stage.answers())


async def test_the_same_bits_as_live_with_the_state_of_each_ride(rides: Any, desk: Any) -> None:
    answers = await live(rides, find("duration"), 361)
    kept = await desk.done("r", "duration", desk.source(rides.topic.name))
    said = {(a.partition, a.offset): (a.event_id, a.stage, a.value) for a in answers}
    assert len(said) == 60 * 4
    assert {(row[0], row[1]): row[2:5] for row in kept} == said


async def test_a_record_that_cannot_be_read_is_noted_and_costs_itself(rides: Any, desk: Any) -> None:
    source = desk.source(rides.topic.name)
    book = await desk.begun("r", "cost", source)
    await desk.worker(book, "cost", source).run()
    assert book.standing()[2:5] == (60, 1, True)


async def test_reads_up_to_where_the_log_ended_when_it_began(rides: Any, desk: Any) -> None:
    source = desk.source(rides.topic.name)
    book = await desk.begun("r", "cost", source)
    await rides.put(desk.outgoing([Events("late").ride()], rides.topic.name))
    await desk.worker(book, "cost", source).run()
    assert len(desk.kept("r")) == 60


@pytest.mark.parametrize("every", [16, 40], ids=["between entries", "with slices that are not entered"])
async def test_a_worker_that_dies_leaves_nothing_out_and_nothing_twice(rides: Any, desk: Any, every: int) -> None:
    source = Seldom(desk.source(rides.topic.name, most=16), every)
    whole = await desk.done("calm", "duration", source)
    book = await desk.begun("hurt", "duration", source)
    for slices in (1, 3, 2, 4):
        with pytest.raises(Died):
            await desk.worker(book, "duration", Once(source, slices)).run()
    await desk.worker(book, "duration", source).run()
    assert desk.kept("hurt") == whole
    assert book.standing().predicted == len(whole)


async def test_workers_share_a_run(rides: Any, desk: Any) -> None:
    source = desk.source(rides.topic.name, most=16)
    book = await desk.begun("r", "duration", source)
    others = [type(book)(desk.replays, "r") for _ in range(2)]
    await asyncio.gather(*(desk.worker(one, "duration", source).run() for one in (book, *others)))
    assert desk.kept("r") == await desk.done("alone", "duration", source)


async def test_a_range_in_time_knows_what_came_before(rides: Any, desk: Any) -> None:
    whole = await desk.done("whole", "duration", desk.source(rides.topic.name))
    events = {event.event_id: event.at for event in desk.lives(60)}
    since = sorted(events.values())[len(events) // 2]
    part = await desk.done("part", "duration", desk.source(rides.topic.name, since=since))
    assert part == [row for row in whole if events[row[2]] >= since]
    assert 0 < len(part) < len(whole)


@pytest.mark.parametrize("agent", ["cost", "duration"])
async def test_what_cannot_be_read_is_of_the_time_it_was_logged_at(rides: Any, desk: Any, agent: str) -> None:
    """It says no other; so it is noted of a range it was logged in, and of no other."""
    logged = datetime.now(UTC)
    for run, wanted, noted in (
        ("then", {"since": START, "until": START + timedelta(hours=1)}, 0),
        ("now", {"since": logged - timedelta(minutes=5)}, 1),
        ("ever", {}, 1),
    ):
        source = desk.source(rides.topic.name, **wanted)
        book = await desk.begun(run, agent, source)
        await desk.worker(book, agent, source).run()
        assert book.standing().failed == noted, run


async def test_a_range_of_offsets(rides: Any, desk: Any) -> None:
    whole = await desk.done("whole", "duration", desk.source(rides.topic.name))
    partition = max(whole, key=lambda row: row[1])[0]
    part = await desk.done("part", "duration", desk.source(rides.topic.name, offsets={partition: (20, 40)}))
    assert part == [row for row in whole if row[0] == partition and 20 <= row[1] < 40]
    assert part


async def test_refuses_a_partition_that_is_not_there(rides: Any, desk: Any) -> None:
    with pytest.raises(ConfigurationError, match="no partition 99"):
        await desk.begun("r", "cost", desk.source(rides.topic.name, offsets={99: (0, 1)}))


async def test_duplicates_are_looked_for_in_an_index_of_the_replay(stage: Any, desk: Any) -> None:
    """In the order of the log over all partitions, though the live workers share theirs."""
    text = "a long enough description of how to sharpen a kitchen knife on a wet stone without a guide or a machine"
    maker = Events(stage.name)
    uploads = [
        maker.upload(description=text if number % 3 == 0 else f"{number} words of another kind") for number in range(30)
    ]
    for upload in uploads:  # one by one, so that the broker's clock orders them
        await stage.put(desk.outgoing([upload], stage.topic.name))
    source = desk.source(stage.topic.name, most=7)
    kept = await desk.done("r", "duplicate", source)
    assert sum(row[4] > 0.5 for row in kept) == 9
    book = await desk.begun("hurt", "duplicate", source)
    with pytest.raises(Died):
        await desk.worker(book, "duplicate", Once(source, 2)).run()
    await desk.worker(book, "duplicate", source).run()
    assert desk.kept("hurt") == kept
    assert not (desk.directory / "millrace-duplicates.db").exists()


async def test_onto_the_topic_once_though_a_worker_died_after_a_delivery(rides: Any, desk: Any) -> None:
    await topic_admin.ensure(desk.settings, [REPLAYED])
    source, brokers = desk.source(rides.topic.name, most=16), str(desk.settings.kafka)
    book = await desk.begun(rides.name, "duration", source)
    for producer in (Torn(rides.producer, 2), rides.producer):
        target = TopicTarget(book, producer, brokers, desk.settings.partitions)
        try:
            await desk.worker(book, "duration", source, target).run()
        except Died:
            continue
    said, decoder = [], Decoder[Prediction](Prediction)
    for partition in range(desk.settings.partitions):
        async with reader(brokers, REPLAYED.name, partition) as found:
            async for records in found.records(*await found.bounds()):
                mine = [record for record in records if header(record.headers, "replay.run") == rides.name]
                said += [decoder.decode(record.value) for record in mine]
    kept = await desk.done("store", "duration", source)
    assert sorted((one.partition, one.offset, one.event_id, one.stage, one.value) for one in said) == [
        row[:5] for row in kept
    ]
    assert {one.arm for one in said} == {"replay"}


async def test_into_parquet_once_though_a_worker_died(rides: Any, desk: Any, tmp_path: Any) -> None:
    import pyarrow.dataset as ds

    source = Seldom(desk.source(rides.topic.name, most=16), 32)
    book = await desk.begun("r", "duration", source)
    for given in (Once(source, 3), source):
        worker = desk.worker(book, "duration", given, ParquetTarget(book, tmp_path / "answers"))
        try:
            await worker.run()
        except Died:
            continue
    table = ds.dataset(tmp_path / "answers", format="parquet").to_table()
    rows = table.select(["partition", "offset", "event_id", "stage", "value"]).to_pylist()
    kept = await desk.done("store", "duration", source)
    assert sorted(tuple(row.values()) for row in rows) == [row[:5] for row in kept]
    assert set(table["version"].to_pylist()) == {"1"}


async def test_verify_finds_what_differs_to_the_last_bit(rides: Any, desk: Any) -> None:
    ready = load(Chosen("duration", "1"), Registry(shipped_root()))
    source = desk.source(rides.topic.name)
    answers = [msgspec.structs.replace(answer, model="duration") for answer in await live(rides, find("duration"), 361)]

    async def said(changed: Sequence[Prediction]) -> Any:
        yield changed

    right = await verify(ready, source, said(answers + answers[:5]), desk.directory)
    assert (right.same, right.differing, right.unsaid) == (245, 0, 0)
    wrong = [msgspec.structs.replace(answers[0], value=math.nextafter(answers[0].value, math.inf)), *answers[2:]]
    found = await verify(ready, source, said(wrong), desk.directory)
    assert (found.same, found.differing, found.unsaid) == (238, 1, 1)
    assert (found.differences[0].offset, found.differences[0].value) == (answers[0].offset, answers[0].value)


async def test_verify_looks_at_the_times_asked_for(rides: Any, desk: Any) -> None:
    ready = load(Chosen("duration", "1"), Registry(shipped_root()))
    answers = [msgspec.structs.replace(answer, model="duration") for answer in await live(rides, find("duration"), 361)]

    async def said() -> Any:
        yield answers

    since = sorted(answer.event_at for answer in answers)[100]
    found = await verify(ready, desk.source(rides.topic.name, since=since), said(), desk.directory)
    later = sum(answer.event_at >= since for answer in answers)
    assert (found.same, found.differing, found.unsaid) == (later, 0, 0)
    assert later < len(answers)
