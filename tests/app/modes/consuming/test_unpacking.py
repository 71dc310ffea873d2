"""Records out of aiokafka's fetcher: all of them, whole, from the right place on."""

import gc
import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from app.codec import Record
from app.modes.consuming.unpacking import RecordSet, unpack

WHERE = TopicPartition("rides", 1)


def batch(first: int, values: Sequence[bytes | None]) -> bytearray:
    """A batch as a broker hands it out: its base offset is in its first eight bytes, which the checksum leaves out."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for place, value in enumerate(values):
        builder.append(place, 1000 + place, b"k", value, [("h", b"%d" % place)])
    written = bytearray(builder.build())
    written[:8] = first.to_bytes(8)
    return written


def fetched(*batches: bytes | bytearray, position: int = 0) -> PartitionRecords:
    memory = MemoryRecords(bytes(b"".join(batches)))
    return PartitionRecords(WHERE, memory, None, position, None, None, True, 0)


def test_they_are_those_aiokafka_would_have_handed_out() -> None:
    parts = batch(0, [b"a", None, b"c"]), batch(7, [b"d"])
    records = RecordSet(WHERE, fetched(*parts))
    expected = [Record("rides", 1, r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in fetched(*parts)]
    assert list(records) == expected
    assert [record.offset for record in expected] == [0, 1, 2, 7]
    assert records.next_fetch_offset == 8


def test_what_was_fetched_does_not_wait_for_the_collector() -> None:
    gc.disable()
    try:
        replaced = fetched(batch(0, [b"a"]))
        gone = weakref.ref(replaced)
        RecordSet(WHERE, replaced)
        del replaced
        assert gone() is None
    finally:
        gc.enable()


def test_a_position_within_a_batch_is_where_it_begins() -> None:
    records = RecordSet(WHERE, fetched(batch(0, [b"a", b"b", b"c"]), batch(3, [b"d"]), position=2))
    assert [record.value for record in records] == [b"c", b"d"]


def test_a_batch_that_was_damaged_is_not_read() -> None:
    damaged = batch(0, [b"value"])
    damaged[-8] ^= 1
    with pytest.raises(CorruptRecordException, match="rides/1"):
        list(RecordSet(WHERE, fetched(damaged)))


def test_what_a_consumer_has_fetched_is_unpacked_once() -> None:
    result = FetchResult(WHERE, assignment=None, partition_records=fetched(batch(0, [b"a"])), backoff=0.1)
    consumer: Any = SimpleNamespace(_fetcher=SimpleNamespace(_records={WHERE: result}))
    unpack(consumer)
    unpacked = cast("Any", result)._partition_records
    unpack(consumer)
    assert cast("Any", result)._partition_records is unpacked
    assert [record.value for record in unpacked] == [b"a"]
