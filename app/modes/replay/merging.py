"""Several partitions, of one topic or more, in one order: that of their records' timestamps, or another.

Between the readers of a replay and its slices.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from heapq import heappop, heappush

from app.codec import Record

Key = tuple[int, int]
Head = tuple[Key, int, Record, Iterator[Record]]


def by_time(record: Record) -> Key:
    return 0, record.timestamp_ms


async def merged(
    parts: Sequence[AsyncIterator[list[Record]]], key: Callable[[Record], Key] = by_time
) -> AsyncIterator[list[Record]]:
    """All records, by their key; of the same key, part by part as given. Each part keeps its own order.

    So a record whose key is less than that of the one before it in its part comes right behind that one.
    """
    heads: list[Head] = []
    for number, part in enumerate(parts):
        await _next_piece(heads, number, part, key)
    while heads:
        piece = []
        while heads:
            _, number, record, rest = heappop(heads)
            piece.append(record)
            following = next(rest, None)
            if following is None:
                await _next_piece(heads, number, parts[number], key)
                break
            heappush(heads, (key(following), number, following, rest))
        yield piece


async def _next_piece(
    heads: list[Head], number: int, part: AsyncIterator[list[Record]], key: Callable[[Record], Key]
) -> None:
    async for records in part:
        rest = iter(records)
        first = next(rest)
        heappush(heads, (key(first), number, first, rest))
        return
