"""A consumer group as a function call per batch: order, hooks, waiting for a fuller batch, and errors."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from faust.types import TP

from app import topic_admin
from app.bus import Outgoing
from app.codec import Record
from app.modes.consuming.group import Batching, Group, _next
from app.modes.consuming.lifecycle import EXIT_STUCK, Leave
from app.modes.consuming.progress import RecordBatch
from app.modes.consuming.transport import BatchMessage, Committable
from app.modes.consuming.watchdog import watch
from app.testing import MemoryBus


class Stuck(MemoryBus):
    """Never delivers and never says so."""

    async def send(self, records: Any) -> Any:
        await asyncio.Event().wait()


async def run_until(group: Group, condition: asyncio.Event) -> None:
    task = asyncio.create_task(group.run())
    await asyncio.wait(
        [task, waiting := asyncio.create_task(condition.wait())], timeout=60, return_when="FIRST_COMPLETED"
    )
    waiting.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert condition.is_set()


async def rebalance(group: Group) -> None:
    """Return once the group gives up what it has, for another member has come."""
    async with asyncio.timeout(60):
        while True:
            if group.app.rebalancing:
                return
            await asyncio.sleep(0.01)


async def test_hooks_frame_the_batches_of_several_topics(stage: Any) -> None:
    other = replace(stage.topic, name=f"other.{stage.name}")
    await topic_admin.ensure(stage.settings, [other])
    told: list[str] = []
    topics: set[str] = set()
    both = asyncio.Event()

    async def handle(batch: RecordBatch) -> None:
        told.append("batch")
        topics.add(batch.topic)
        if len(topics) == 2:
            both.set()

    async def assigned(partitions: frozenset[Any]) -> None:
        told.append(f"assigned {len(partitions)}")

    async def revoked(partitions: frozenset[Any]) -> None:
        told.append(f"revoked {len(partitions)}")

    await stage.put([Outgoing(topic, b"k", b"v") for topic in (stage.topic.name, other.name)])
    group = Group(
        f"millrace.{stage.name}", [stage.topic, other], handle, stage.settings, on_assigned=assigned, on_revoked=revoked
    )
    await run_until(group, both)
    assert (told[0], told[-1]) == ("assigned 8", "revoked 8")
    assert set(told[1:-1]) == {"batch"}
    assert await stage.committed() == 2


async def test_a_batch_need_not_wait_for_one_of_another_topic(stage: Any) -> None:
    """Both are in hand at once, and neither is committed before it is done."""
    other = replace(stage.topic, name=f"other.{stage.name}")
    await topic_admin.ensure(stage.settings, [other])
    in_hand: list[str] = []
    met, done = asyncio.Event(), asyncio.Event()

    async def handle(batch: RecordBatch) -> None:
        in_hand.append(batch.topic)
        if len(in_hand) == 2:
            assert await stage.committed() == 0
            met.set()
        await met.wait()
        done.set()

    await stage.put([Outgoing(topic, b"k", b"v") for topic in (stage.topic.name, other.name)])
    await run_until(
        Group(f"millrace.{stage.name}", [stage.topic, other], handle, stage.settings, topics_apart=True), done
    )
    assert set(in_hand) == {stage.topic.name, other.name}
    assert await stage.committed() == 2


async def test_a_commit_need_not_wait_for_a_batch_of_another_topic(stage: Any) -> None:
    other = replace(stage.topic, name=f"other.{stage.name}")
    await topic_admin.ensure(stage.settings, [other])
    free, asked = asyncio.Event(), asyncio.Event()

    async def handle(batch: RecordBatch) -> None:
        if batch.topic == other.name:
            await free.wait()

    async def before_commit(offsets: Any, last_chance: bool) -> Any:
        if offsets:
            free.set()  # not before: until then the other's batch is in hand
        if await stage.committed() == 2:
            asked.set()
        return offsets

    await stage.put([Outgoing(topic, b"k", b"v") for topic in (stage.topic.name, other.name)])
    group = Group(
        f"millrace.{stage.name}",
        [stage.topic, other],
        handle,
        stage.settings,
        topics_apart=True,
        before_commit=before_commit,
    )
    await run_until(group, asked)


async def test_a_batch_that_may_wait_is_filled_from_what_comes_meanwhile(stage: Any) -> None:
    sizes: list[int] = []
    done, begun = asyncio.Event(), asyncio.Event()

    async def handle(batch: RecordBatch) -> None:
        sizes.append(len(batch.records))
        if sum(sizes) == 6:
            done.set()

    async def assigned(partitions: frozenset[Any]) -> None:
        begun.set()

    within_s = 3.0
    batching = Batching(within=timedelta(seconds=within_s))
    group = Group(
        f"millrace.{stage.name}", [stage.topic], handle, stage.settings, batching=batching, on_assigned=assigned
    )

    async def trickle() -> float:
        await begun.wait()
        start = time.monotonic()
        for _ in range(6):
            await stage.put([Outgoing(stage.topic.name, b"k", b"v")])
        return time.monotonic() - start

    _, took_s = await asyncio.gather(run_until(group, done), trickle())
    windows = 2 + int(
        took_s / within_s
    )  # which close every three seconds: on any machine that can send six in two, two
    assert len(sizes) <= windows, "each came alone"


async def test_a_group_that_is_stopped_finishes_and_commits_what_it_has_in_hand(stage: Any) -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def handle(batch: RecordBatch) -> None:
        begun.set()
        await free.wait()

    await stage.put([Outgoing(stage.topic.name, b"k", b"v")])
    running = asyncio.create_task(Group(f"millrace.{stage.name}", [stage.topic], handle, stage.settings).run())
    await asyncio.wait_for(begun.wait(), 60)
    running.cancel()
    asyncio.get_running_loop().call_later(0.3, free.set)
    await asyncio.gather(running, return_exceptions=True)
    assert await stage.committed() == 1


async def test_what_is_committed_is_known_while_partitions_are_given_up(stage: Any) -> None:
    """A batch in hand is finished during a rebalance, and a state may be restored for it as of what is committed."""
    where = TopicPartition(stage.topic.name, 0)
    groups: list[Group] = []
    begun, told = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def nothing(batch: RecordBatch) -> None:
        if batch.partition == 0:
            begun.set()

    async def handle(batch: RecordBatch) -> None:
        begun.set()
        await rebalance(groups[0])
        told.set_result((await groups[0].committed())[where])

    await stage.put([Outgoing(where.topic, b"k", b"v", partition=0)] * 3)
    await run_until(Group(f"millrace.{stage.name}", [stage.topic], nothing, stage.settings), begun)
    assert await stage.committed() == 3

    begun.clear()
    groups += [Group(f"millrace.{stage.name}", [stage.topic], each, stage.settings) for each in (handle, nothing)]
    await stage.put([Outgoing(where.topic, b"k", b"v", partition=0)])
    first = asyncio.create_task(groups[0].run())
    await asyncio.wait_for(begun.wait(), 60)
    second = asyncio.create_task(groups[1].run())
    try:
        assert await asyncio.wait_for(told, 60) == 3
    finally:
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_what_handle_raises_ends_the_group_and_commits_nothing_of_it(stage: Any) -> None:
    async def handle(batch: RecordBatch) -> None:
        raise ZeroDivisionError

    await stage.put([Outgoing(stage.topic.name, b"k", b"v")])
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(Group(f"millrace.{stage.name}", [stage.topic], handle, stage.settings).run(), 60)
    assert await stage.committed() == 0


async def test_a_worker_that_makes_no_progress_leaves(stage: Any, worker: ModuleType) -> None:
    await stage.put([Outgoing(stage.topic.name, b"k", b"{")])
    loop = stage.loop(worker.passengers(stage.name), worker.Doubles(), Stuck(), stuck_after=timedelta(seconds=1))
    with pytest.raises(Leave) as left:
        await asyncio.wait_for(loop.run(), 60)
    assert left.value.code == EXIT_STUCK
    assert await stage.committed() == 0


async def test_a_group_with_nothing_to_read_is_not_stuck(stage: Any) -> None:
    """One partition is empty, one was read to its end by a member that is gone."""
    seen = asyncio.Event()

    async def handle(batch: RecordBatch) -> None:
        seen.set()

    await stage.put([Outgoing(stage.topic.name, b"k", b"v", partition=0)])
    await run_until(Group(f"millrace.{stage.name}", [stage.topic], handle, stage.settings), seen)
    idle = Group(f"millrace.{stage.name}", [stage.topic], handle, stage.settings)
    running = asyncio.create_task(idle.run())
    watching = asyncio.create_task(watch(idle, timedelta(seconds=0.6)))
    done, _ = await asyncio.wait([running, watching], timeout=3, return_when="FIRST_COMPLETED")
    for task in (running, watching):
        task.cancel()
    await asyncio.gather(running, watching, return_exceptions=True)
    assert not done


async def test_a_group_goes_past_the_marks_of_transactions_and_what_was_aborted(stage: Any, foreign: Any) -> None:
    """Else it would for ever have committed less than there is, and be taken for stuck. One that is open is waited for."""
    handled: list[bytes | None] = []

    async def handle(batch: RecordBatch) -> None:
        handled.extend(record.value for record in batch.records)

    async def allowed(offsets: Committable, last_chance: bool) -> Committable:
        return offsets

    group = Group(f"millrace.{stage.name}", [stage.topic], handle, stage.settings, before_commit=allowed)
    running = asyncio.create_task(group.run())
    await foreign.abort(b"never")
    await stage.has_committed(2)
    await foreign.commit(b"a")
    await stage.has_committed(4)
    await stage.put([Outgoing(stage.topic.name, b"k", b"b", partition=0)])
    await stage.has_committed(5)
    await foreign.write(b"c")
    await stage.put([Outgoing(stage.topic.name, b"k", b"d", partition=0)])
    assert await group.committed() == await group.ends(), "which the watchdog compares"
    await foreign.producer.abort_transaction()
    await stage.has_committed(8)
    assert group.unread(TopicPartition(stage.topic.name, 0)) is False
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert handled == [b"a", b"b", b"d"]


async def test_a_group_goes_past_what_expired_before_it_was_read(stage: Any) -> None:
    async def handle(batch: RecordBatch) -> None:
        seen.set()

    where, seen = TopicPartition(stage.topic.name, 0), asyncio.Event()
    await stage.put([Outgoing(where.topic, b"k", b"v", partition=0)])
    await run_until(Group(f"millrace.{stage.name}", [stage.topic], handle, stage.settings), seen)
    await stage.put([Outgoing(where.topic, b"k", b"v", partition=0)] * 2)
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.settings.kafka)
    await admin.start()
    await admin.delete_records({where: RecordsToDelete(3)})
    await admin.close()
    running = asyncio.create_task(Group(f"millrace.{stage.name}", [stage.topic], handle, stage.settings).run())
    await stage.has_committed(3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("turns", range(6))
async def test_told_to_end_in_the_turn_in_which_a_record_set_comes_a_lane_ends(turns: int) -> None:
    waiting: asyncio.Queue[BatchMessage] = asyncio.Queue()
    last = RecordBatch("rides", 0, [Record("rides", 0, 7, 0, None, b"")], 8)
    gathering = asyncio.create_task(_next(waiting, time.monotonic() + 60))
    for _ in range(5):
        await asyncio.sleep(0)
    waiting.put_nowait(BatchMessage(last, TP("rides", 0), generation=1))
    for _ in range(turns):
        await asyncio.sleep(0)
    if gathering.cancel():
        await asyncio.wait([gathering])
        assert gathering.cancelled()
