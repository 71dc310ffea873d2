"""Several partitions, of one topic or more, in one order: that of their records' timestamps.

Between the readers of a replay and its slices.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from heapq import heappop, heappush

from app.codec import Record

Head = tuple[int, int, Record, Iterator[Record]]


async def merged(parts: Sequence[AsyncIterator[list[Record]]]) -> AsyncIterator[list[Record]]:
    """All records, by timestamp; of the same millisecond, part by part as given. Each part keeps its own order.

    So a record that says an earlier time than the one before it in its part comes right behind that one.
    """
    heads: list[Head] = []
    for number, part in enumerate(parts):
        await _next_piece(heads, number, part)
    while heads:
        piece = []
        while heads:
            _, number, record, rest = heappop(heads)
            piece.append(record)
            following = next(rest, None)
            if following is None:
                await _next_piece(heads, number, parts[number])
                break
            heappush(heads, (following.timestamp_ms, number, following, rest))
        yield piece


async def _next_piece(heads: list[Head], number: int, part: AsyncIterator[list[Record]]) -> None:
    async for records in part:
        rest = iter(records)
        first = next(rest)
        heappush(heads, (first.timestamp_ms, number, first, rest))
        return
