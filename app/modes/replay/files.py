"""A replay of events in rows: each becomes the record a topic would hold, and goes through the same decoder.

So a row that is no event fails as it would there, alone, naming its field. `app.modes.replay.tables` reads the rows.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import get_args

from app.agent import Agent
from app.codec import Decoder, Record
from app.errors import ConfigurationError
from app.events import OPENING, AnyEvent, Event
from app.modes.replay.decoding import union
from app.modes.replay.plan import Part, Rows, Span
from app.modes.replay.sources import LANE_RECORDS, SLICE_RECORDS, Slice, entry_records, sliced
from app.modes.replay.tables import CsvTable, ParquetTable, QueryTable, Table
from app.modes.stream import heard, inputs
from app.topics import TOPICS, Topic

_CUTS = 4

_new = tuple.__new__  # what `Record(...)` does, without a call in Python for each


class RowSource:
    """`app.modes.replay.sources.Source` over a table of events."""

    def __init__(self, table: Table, label: str, events: str | None = None, most: int = SLICE_RECORDS) -> None:
        self._table, self._label, self._events, self._most = table, label, events, most

    async def spans(self, agent: Agent) -> list[Span]:
        """In pieces where rows do not depend on each other; in one where the agent must know what came before."""
        count = self._table.count()
        next(self._table.values(0, min(1, count)), None)  # what cannot be read is told before a run is begun
        if self._events is not None and self._events not in _read(agent):
            raise ConfigurationError(f"agent {agent.name} does not read {self._events}")
        remembers = agent.state is not None and self._table.only not in _tags(agent.stateless)
        alone = remembers or agent.shared is not None or not self._table.borders
        bounds = [(0, count)] if alone else lanes(self._table.borders, count)
        parts = [Part(self._label, 0, first, first, end) for first, end in bounds if end > first]
        return [Span((part,), state=remembers) for part in parts]

    def decoder(self, agent: Agent) -> Decoder[AnyEvent]:
        """Of all the agent reads and hears: one table may hold what comes on several topics."""
        return Decoder(union(topic.messages for topic in _topics(agent)))

    @property
    def within(self) -> None:
        """The whole table is wanted."""

    async def slices(self, span: Span, position: int) -> AsyncGenerator[Slice, None]:
        (part,) = span.parts
        async for records in sliced(self._records(part, position), self._most):
            yield Slice(records, records[-1].offset + 1 - part.first)

    def every(self, span: Span) -> int:
        return entry_records(span, self._most)

    async def _records(self, part: Part, position: int) -> AsyncIterator[list[Record]]:
        row = part.first + position
        pieces = self._table.values(row, part.end)
        while (values := await asyncio.to_thread(next, pieces, None)) is not None:
            yield [_new(Record, (part.topic, 0, place, 0, None, value, ())) for place, value in enumerate(values, row)]
            row += len(values)
        if row < part.end:
            raise ConfigurationError(f"{part.topic} has {row} rows now; there were {part.end} when the run began")


def lanes(borders: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Where `count` rows are cut so that workers can share them: first row and end of each lane, of up to `LANE_RECORDS`.

    At `borders`, where reading may begin at no cost. What lies between two of them may be longer, and is cut into `_CUTS` at most,
    for each reads all before it once more: a row of Parquet costs 0.5 us to read and 7 or more to answer.

    Example:
        >>> list(lanes([0, 60_000, 120_000, 180_000], 200_000))
        [(0, 120000), (120000, 200000)]
        >>> list(lanes([0], 400_000))
        [(0, 100000), (100000, 200000), (200000, 300000), (300000, 400000)]
    """
    first = 0
    for border, end in pairwise([*borders, count]):
        if border > first and end - first > LANE_RECORDS:
            yield from _cut(first, border)
            first = border
    yield from _cut(first, count)


def _cut(first: int, end: int) -> Iterator[tuple[int, int]]:
    pieces = min(_CUTS, -(-(end - first) // LANE_RECORDS)) or 1
    marks = [first + (end - first) * piece // pieces for piece in range(pieces + 1)]
    return pairwise(marks)


def default_type(agent: Agent) -> str:
    """What a row without a `type` is taken for: the event that opens the agent's subject."""
    opening = [event for event in agent.consumes if issubclass(event, OPENING)]
    return _tag((opening or list(agent.consumes))[0])


def event_tag(name: str) -> str:
    """The tag of an event by tag or by class name. Raises `ConfigurationError` that lists the events there are."""
    known = {event.__name__: _tag(event) for topic in TOPICS for event in _events(topic)}
    if name in known.values():
        return name
    if name not in known:
        raise ConfigurationError(f"no event {name!r}; there are: {', '.join(known)}")
    return known[name]


def open_table(rows: Rows, database_url: str) -> Table:
    """The table a plan names. Raises `ConfigurationError` where it cannot be read."""
    if rows.kind == "sql":
        return QueryTable(rows.name, database_url, rows.events)
    path = Path(rows.name)
    if not path.is_file():
        what = "is a directory, and a file is wanted" if path.is_dir() else "there is no such file"
        raise ConfigurationError(f"{path}: {what}")
    if path.suffix.lower() in (".parquet", ".pq"):
        return ParquetTable(path, rows.events)
    if path.suffix.lower() == ".csv":
        return CsvTable(path, rows.events)
    raise ConfigurationError(f"{path}: events are read from .parquet and .csv files")


def _events(topic: Topic) -> Sequence[type[Event]]:
    listed = get_args(topic.messages) or (topic.messages,)
    return [event for event in listed if isinstance(event, type) and issubclass(event, Event)]


def _tags(events: Iterable[type[Event]]) -> set[str]:
    return set(map(_tag, events))


def _tag(event: type[Event]) -> str:
    return str(event.__struct_config__.tag)


def _topics(agent: Agent) -> list[Topic]:
    return [*inputs(agent), *heard(agent)]


def _read(agent: Agent) -> set[str]:
    """The tags of all events it may be shown."""
    return _tags(event for topic in _topics(agent) for event in _events(topic))
