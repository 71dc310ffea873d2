"""Several partitions in one order, and records of several topics decoded as each would be."""

from collections.abc import AsyncIterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.codec import Record, encode
from app.events import FraudReported, TransactionMade
from app.modes.replay.decoding import MixedDecoder
from app.modes.replay.merging import merged
from app.testing import Events


def record(topic: str, offset: int, timestamp_ms: int, value: bytes | None = None) -> Record:
    return Record(topic, 0, offset, timestamp_ms, None, value)


async def pieces(records: Sequence[Record], size: int) -> AsyncIterator[list[Record]]:
    for first in range(0, len(records), size):
        yield list(records[first : first + size])


@given(st.lists(st.lists(st.integers(0, 20)), max_size=4), st.integers(1, 5), st.integers(1, 5))
async def test_one_order_whatever_the_pieces(times: list[list[int]], size: int, other: int) -> None:
    parts = [[record(f"t{n}", offset, at) for offset, at in enumerate(part)] for n, part in enumerate(times)]
    orders = [
        [one async for piece in merged([pieces(part, each) for part in parts]) for one in piece]
        for each in (size, other)
    ]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(one for part in parts for one in part)
    for n, part in enumerate(parts):
        assert [one for one in orders[0] if one.topic == f"t{n}"] == part


@given(st.lists(st.lists(st.integers(0, 20)).map(sorted), max_size=4))
async def test_by_time_and_of_one_moment_part_by_part(times: list[list[int]]) -> None:
    parts = [[record(f"t{n}", offset, at) for offset, at in enumerate(part)] for n, part in enumerate(times)]
    order = [one async for piece in merged([pieces(part, 3) for part in parts]) for one in piece]
    assert [(one.timestamp_ms, one.topic, one.offset) for one in order] == sorted(
        (one.timestamp_ms, one.topic, one.offset) for one in order
    )


def test_each_topic_has_its_own_messages() -> None:
    made = Events("m").transaction()
    told = FraudReported(**{name: getattr(made, name) for name in made.__struct_fields__}, made_at=made.at)
    decoder = MixedDecoder({"made": TransactionMade, "told": FraudReported})
    records = [
        record("told", 0, 0, encode(told)),
        record("made", 0, 0, encode(made)),
        record("made", 1, 0, encode(told)),
        record("told", 1, 0, b"{"),
        record("made", 2, 0, encode(made)),
    ]
    messages, failures = decoder.decode_batch(records)
    assert messages == [told, made, None, None, made]
    assert sorted(failure.record for failure in failures) == [records[2], records[3]]
