"""Which records are in hand, partition by partition, and how far each partition may be committed.

Between the transport, which enters every fetched record set here, and the lanes, which mark it finished: a partition is
committed up to the first record set that is not finished, whatever was finished behind it.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from aiokafka.structs import TopicPartition

from app.codec import Record


@dataclass(eq=False)
class RecordBatch:
    """What had arrived on one partition when it was fetched; the unit of work, of acknowledgement and of flow control.

    Attributes:
        records: in offset order, offsets may have gaps. None, where there is only something to pass over.
        next_offset: where the next fetch goes on: behind the last record, and what was no record for us (the mark at the end of
            a transaction, what it had taken back, what was compacted or has expired).
        size: of the values, bytes.
        finished: everything that follows from these records is delivered.
    """

    topic: str
    partition: int
    records: list[Record]
    next_offset: int
    size: int = 0
    finished: bool = False


@dataclass
class _Partition:
    in_hand: deque[RecordBatch] = field(default_factory=deque)
    size: int = 0
    entered: int | None = None
    finished: int | None = None
    committed: int | None = None


class Progress:
    """The record sets in hand of every assigned partition.

    Its lifetime is one assignment: `clear` forgets everything, and a batch of an earlier assignment that is finished
    afterwards moves nothing.

    Args:
        limit_bytes: a partition with this much in hand is not fetched (what is fetched at once may exceed it).
        on_room: called when such a partition may be fetched again.
    """

    def __init__(self, limit_bytes: int, on_room: Callable[[], None]) -> None:
        self._limit, self._on_room = limit_bytes, on_room
        self._partitions: dict[TopicPartition, _Partition] = {}

    def enter(self, batch: RecordBatch) -> None:
        """Take a fetched record set in hand."""
        partition = self._partitions.setdefault(_where(batch), _Partition())
        partition.in_hand.append(batch)
        partition.size += batch.size
        partition.entered = batch.next_offset

    def finish(self, batch: RecordBatch) -> None:
        """Everything that follows from this record set is delivered."""
        batch.finished = True
        partition = self._partitions.get(_where(batch))
        if partition is None or batch not in partition.in_hand:
            return  # of an earlier assignment: its successor gets these records again
        was_full = partition.size >= self._limit
        while partition.in_hand and partition.in_hand[0].finished:
            done = partition.in_hand.popleft()
            partition.size -= done.size
            partition.finished = done.next_offset
        if was_full and partition.size < self._limit:
            self._on_room()

    def has_room(self, where: TopicPartition) -> bool:
        """Whether this partition may be fetched."""
        partition = self._partitions.get(where)
        return partition is None or partition.size < self._limit

    def entered(self, where: TopicPartition) -> int | None:
        """Up to which offset this partition has been taken in hand, where this assignment has taken anything."""
        partition = self._partitions.get(where)
        return None if partition is None else partition.entered

    def finished(self, where: TopicPartition) -> int | None:
        """Up to which offset it is finished, where this assignment has finished anything; it may not be committed yet."""
        partition = self._partitions.get(where)
        return None if partition is None else partition.finished

    def committable(self) -> dict[TopicPartition, int]:
        """The next offset of each partition that has finished more than was committed."""
        return {
            where: partition.finished
            for where, partition in self._partitions.items()
            if partition.finished is not None and partition.finished != partition.committed
        }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        for where, offset in offsets.items():
            if where in self._partitions:
                self._partitions[where].committed = offset

    def known(self) -> dict[TopicPartition, int]:
        """What each partition is committed up to, where this assignment has committed anything."""
        return {where: offset for where, p in self._partitions.items() if (offset := p.committed) is not None}

    def clear(self) -> None:
        """Forget everything: the assignment is over."""
        self._partitions.clear()

    def in_hand(self) -> Collection[RecordBatch]:
        """What is entered and not finished, or finished behind something that is not."""
        return [batch for partition in self._partitions.values() for batch in partition.in_hand]


def _where(batch: RecordBatch) -> TopicPartition:
    return TopicPartition(batch.topic, batch.partition)
