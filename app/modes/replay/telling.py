"""The order in which a state that all workers of an agent share was told of events, from the agent's own predictions.

Kafka keeps no order between partitions; the state numbers what it is told, and each prediction says the number
(`app.predictions.Prediction.entered`, docs/decisions/0009). Below `app.modes.replay.sources`, which reads in this order.
"""

from array import array
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack

import numpy as np
from msgspec import Struct

from app.codec import Decoder, Record
from app.modes.consuming.read import reader
from app.modes.replay.course import said, still_there, still_told
from app.modes.replay.merging import Key, merged
from app.modes.replay.plan import Order, Place, Span
from app.predictions import Entered, Prediction

LAST = 2**63
"""Behind every number: what nobody has answered yet was told to nobody."""


class _Told(Struct, tag_field="type", tag=str(Prediction.__struct_config__.tag)):
    """Of `Prediction`, what tells the order: at a fraction of the cost."""

    topic: str
    partition: int
    offset: int
    entered: Entered | None = None


_decoder: Decoder[_Told] = Decoder(_Told)


class Turns:
    """When the state was told of one partition's records: 16 bytes each.

    A record without a prediction (a dead letter) comes right before the next that has one, of the same batch as a rule;
    those before the first, whose predictions the log has forgotten, and those whose predictions say no number come first;
    those behind the last come last. Where that leaves a choice, by time.
    """

    def __init__(self, offsets: Sequence[int], numbers: Sequence[int]) -> None:
        order = np.argsort(np.asarray(offsets, np.int64), kind="stable")
        self._offsets = array("q", np.asarray(offsets, np.int64)[order].tobytes())
        self._numbers = array("q", np.asarray(numbers, np.int64)[order].tobytes())

    def of(self, record: Record) -> Key:
        row = bisect_left(self._offsets, record.offset)
        if row == len(self._offsets):
            return LAST, record.timestamp_ms
        before_all = row == 0 and self._offsets[0] != record.offset
        return 0 if before_all else self._numbers[row], record.timestamp_ms


async def in_turn(brokers: str, span: Span, resumed: bool = False) -> AsyncGenerator[list[Record], None]:
    """All records of a span as the state was told of them. Raises `ServiceUnavailable`, and as `still_there` if `resumed`."""
    if resumed:
        for order in span.told:
            await still_told(brokers, order)
    turns = await _turns(brokers, span)
    async with AsyncExitStack() as stack:
        parts = list[AsyncIterator[list[Record]]]()
        for part in span.parts:
            partition = await stack.enter_async_context(reader(brokers, part.topic, part.partition))
            if resumed:
                await still_there(partition, part)
            parts.append(partition.records(part.first, part.end))
        async for records in merged(parts, lambda record: turns[record[:2]].of(record)):
            yield records


async def _turns(brokers: str, span: Span) -> Mapping[tuple[str, int], Turns]:
    offsets = {Place(part.topic, part.partition): array("q") for part in span.parts}
    numbers = {place: array("q") for place in offsets}
    for order in span.told:
        async for each in _told(brokers, order):
            place = Place(each.topic, each.partition)
            if place in offsets and 0 <= each.offset < LAST:
                offsets[place].append(each.offset)
                numbers[place].append(each.entered or 0)
    return {place: Turns(offsets[place], numbers[place]) for place in offsets}


async def _told(brokers: str, order: Order) -> AsyncIterator[_Told]:
    async for records in said(brokers, order):
        messages, _ = _decoder.decode_batch(records)
        for message in messages:
            if message is not None:
                yield message
