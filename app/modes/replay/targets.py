"""Where a replay's answers go: the store, Parquet files, or the topic `predictions.replay`. Never to a user.

Each keeps what came out and the progress of its lane so that a kill -9 between the two leaves nothing out and nothing twice.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

from sqlalchemy import Connection

from app.bus import Outgoing, Producer, deliver
from app.codec import Record, context, encode, header
from app.errors import ConfigurationError
from app.modes.consuming.read import reader
from app.modes.replay.arrow_json import arrow
from app.modes.replay.book import Advance, Book, Lane
from app.modes.replay.rows import Answers, Columns, Zones
from app.modes.scoring.dead_letters import PREDICTION_TOO_LARGE
from app.modes.scoring.process import Failed, Processor
from app.sql import bulk
from app.sql.replay_schema import failures, replayed
from app.topics import MAX_PREDICTION_BYTES, REPLAYED

_COLUMNS = [column.name for column in replayed.columns]
_AT_ONCE = 256
"""Rows of one INSERT: 1.2 µs each, 2 one by one; beyond 1,000 they cost more again. SQLite takes 32,766 values."""

_FRAME_BYTES = 4096  # what Kafka and the headers add to a prediction is a tenth of this


class Target(Protocol):
    """Keeps the answers of a run, of one lane at a time."""

    async def open(self, lane: Lane) -> None:
        """Get ready for a lane; what was taken and not entered is forgotten."""
        ...

    async def take(self, answers: Answers) -> None:
        """Take what came out of the next slice: only `enter` keeps it. Raises `DeliveryFailed`."""
        ...

    async def enter(self, position: int, state: bytes | None) -> None:
        """Keep all that was taken, and that the lane has come so far. Raises `LaneLost`, `ServiceUnavailable`."""
        ...


class StoreTarget:
    """Into the table `replayed`, in the transaction that moves the lane."""

    def __init__(self, book: Book, zones: Zones | None = None) -> None:
        self._book, self._zones = book, zones

    async def open(self, lane: Lane) -> None:
        self._lane, self._taken = lane, Taken()

    async def take(self, answers: Answers) -> None:
        await asyncio.to_thread(self._taken.add, answers, self._zones)

    async def enter(self, position: int, state: bytes | None) -> None:
        await asyncio.to_thread(self._enter, position, state)

    def _enter(self, position: int, state: bytes | None) -> None:
        taken, self._taken = self._taken, Taken()
        with self._book.entering(self._lane, taken.advance(position, state)) as connection:
            insert_rows(connection, self._lane.lane, taken.columns)
            note_failures(connection, self._lane, taken.failed)


class ParquetTarget:
    """Into a directory, a file for all that is entered at once, written whole before the lane moves.

    A file is named after its run, its lane and the position it begins at: what a worker that was killed has left is written
    over by whoever goes on from there.
    """

    def __init__(self, book: Book, directory: Path, *, fresh: bool = False) -> None:
        """Proves the directory; it is one run's, for whoever reads it reads all its files: a `fresh` one must find none.

        Raises `ConfigurationError`.
        """
        self._book, self._directory = book, directory
        arrow("pyarrow.parquet")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=directory).close()
        except OSError as error:
            raise ConfigurationError(f"--into {directory}: nothing can be written there: {error.strerror}") from error
        if fresh and next(directory.glob("*.parquet"), None) is not None:
            raise ConfigurationError(f"--into {directory}: there are Parquet files in it already, so name another")

    async def open(self, lane: Lane) -> None:
        self._lane, self._begins, self._taken = lane, lane.position, Taken()

    async def take(self, answers: Answers) -> None:
        self._agent = answers.agent
        await asyncio.to_thread(self._taken.add, answers)

    async def enter(self, position: int, state: bytes | None) -> None:
        await asyncio.to_thread(self._enter, position, state)

    def _enter(self, position: int, state: bytes | None) -> None:
        lane, chosen = self._lane, self._lane.chosen
        taken, self._taken = self._taken, Taken()
        name = f"{lane.run}-{chosen.agent}-{chosen.version}-{lane.lane:06}-{self._begins:012}.parquet"
        self._write(self._directory / name, _table(lane, self._agent.unit, taken.columns))
        with self._book.entering(lane, taken.advance(position, state)) as connection:
            note_failures(connection, lane, taken.failed)
        self._begins = position

    def _write(self, path: Path, table: Any) -> None:
        """Whole or not at all; none where there is nothing to say."""
        if not table.num_rows:
            path.unlink(missing_ok=True)
            return
        scratch = path.with_name(f".{path.name}")
        try:
            arrow("pyarrow.parquet").write_table(table, scratch, compression="zstd")
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise ConfigurationError(f"--into {self._directory}: {path.name} cannot be written: {error}") from error


class TopicTarget:
    """Onto `predictions.replay`, delivered before the lane moves; headers `replay.*` say which run it was.

    A worker that takes a lane up reads back what its predecessor had delivered and not entered, and leaves that out.
    """

    def __init__(self, book: Book, producer: Producer, brokers: str, partitions: int) -> None:
        self._book, self._producer, self._brokers, self._partitions = book, producer, brokers, partitions
        self._delivered: set[tuple[str, int, int]] = set()
        self.processors: dict[str, Processor] = {}

    async def open(self, lane: Lane) -> None:
        self._lane, self._predicted = lane, 0
        self._failed: list[Failed] = []
        self._delivered = await self._find(lane) if lane.taken_up else set()

    async def take(self, answers: Answers) -> None:
        records, too_large = self._word(answers)
        await deliver(self._producer, records)
        self._predicted += len(answers) - len(too_large)
        self._failed += [*answers.failed, *too_large]

    async def enter(self, position: int, state: bytes | None) -> None:
        advance = Advance(position, self._predicted, len(self._failed), state)
        await asyncio.to_thread(self._enter, advance, self._failed)
        self._predicted, self._failed = 0, []

    def _enter(self, advance: Advance, failed: Sequence[Failed]) -> None:
        with self._book.entering(self._lane, advance) as connection:
            note_failures(connection, self._lane, failed)

    def _word(self, answers: Answers) -> tuple[list[Outgoing], list[Failed]]:
        records, too_large = [], []
        lane, processor = self._lane, self.processors[answers.agent.name]
        marks = (("replay.run", lane.run.encode()), ("replay.lane", str(lane.lane).encode()))
        for scored, rows in answers.parts:
            wanted = {scored.records[row][:3] for row in rows}
            for record, prediction in processor.word(scored).predicted:
                place = record[:3]
                if place not in wanted:
                    continue
                value = encode(prediction)
                if len(value) + _FRAME_BYTES > MAX_PREDICTION_BYTES:
                    too_large.append(Failed(record, PREDICTION_TOO_LARGE, f"its prediction takes {len(value)} bytes"))
                elif place not in self._delivered:
                    headers = (*context(prediction), *marks, ("replay.place", _place(record)))
                    key = record.key or prediction.user_id.encode()
                    partition = record.partition if record.key is not None else None
                    records.append(Outgoing(REPLAYED.name, key, value, headers, partition))
        return records, too_large

    async def _find(self, lane: Lane) -> set[tuple[str, int, int]]:
        """What was delivered of this lane, as places of what it answers; only of what the position does not cover."""
        found = set()
        for partition in range(self._partitions):
            async with reader(self._brokers, REPLAYED.name, partition) as source:
                first, end = await source.bounds()
                async for records in source.records(first, end):
                    found |= {place for record in records if (place := _answered(record, lane)) is not None}
        return found


@dataclass
class Taken:
    """What was taken since the last entry."""

    columns: Columns = field(default_factory=Columns)
    failed: list[Failed] = field(default_factory=list)

    def add(self, answers: Answers, zones: Zones | None = None) -> None:
        self.columns.add(answers, zones)
        self.failed += answers.failed

    def advance(self, position: int, state: bytes | None) -> Advance:
        return Advance(position, len(self.columns), len(self.failed), state)


def insert_rows(connection: Connection, lane: int, columns: Columns) -> None:
    """Write answers down, as fast as the database takes them: COPY, or many rows in one prepared statement of SQLite."""
    count = len(columns)
    listed = {name: getattr(columns, name) if name != "lane" else [lane] * count for name in _COLUMNS}
    if connection.dialect.name == "sqlite":
        _insert(connection, listed, count)
    else:
        bulk.load(connection, replayed, zip(*listed.values(), strict=True))


def _insert(connection: Connection, columns: Mapping[str, list[Any]], count: int) -> None:
    """Past SQLAlchemy's parameters by name, which cost more than SQLite itself.

    Python's lock is let go and taken again for every statement, not for every row: beside a thread that is busy in Python,
    a row at a time would wait for its turn each time. A column without any value is left out, for to hand SQLite a `None`
    costs as much as four numbers.
    """
    said = {name: values for name, values in columns.items() if values.count(None) < count}
    for first in range(0, count, _AT_ONCE):
        rows = min(_AT_ONCE, count - first)
        flat: list[Any] = [None] * (rows * len(said))
        for place, values in enumerate(said.values()):
            flat[place :: len(said)] = values[first : first + rows]
        connection.exec_driver_sql(_statement(tuple(said), rows), tuple(flat))


@lru_cache(maxsize=8)
def _statement(columns: Sequence[str], rows: int) -> str:
    marks = f"({', '.join('?' * len(columns))})"
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO replayed ({names}) VALUES {', '.join([marks] * rows)}"  # noqa: S608 - our own names


def note_failures(connection: Connection, lane: Lane, failed: Sequence[Failed]) -> None:
    """Write down what has no answer, and why; it was a dead letter when it was live."""
    if failed:
        rows = [
            {
                "lane": lane.lane,
                "input": lane.span.topics.index(each.record.topic),
                "partition": each.record.partition,
                "offset": each.record.offset,
                "cause": each.cause,
                "error": each.error[:1000],
            }
            for each in failed
        ]
        connection.execute(failures.insert(), rows)


def _table(lane: Lane, unit: str, columns: Columns) -> Any:
    """Answers as Arrow, with what is the same in every row."""
    lib, count = arrow("pyarrow"), len(columns)
    kinds = {"at_us": lib.timestamp("us", "UTC"), "detail": lib.string()}
    names = {"at_us": "event_at"}
    same = {
        "run": lane.run,
        "model": lane.chosen.agent,
        "version": lane.chosen.version,
        "unit": unit,
    }
    table = {name: lib.repeat(lib.scalar(value), count).dictionary_encode() for name, value in same.items()}
    for name, values in vars(columns).items():
        if name == "zone":
            continue
        if name == "input":
            numbers = lib.array(values, type=lib.int8())
            table["topic"] = lib.DictionaryArray.from_arrays(numbers, list(lane.span.topics))
            continue
        listed = [None if value is None else value.decode() for value in values] if name == "detail" else values
        table[names.get(name, name)] = lib.array(listed, type=kinds.get(name))
    return lib.table(table)


def _place(record: Record) -> bytes:
    return f"{record.topic}/{record.partition}@{record.offset}".encode()


def _answered(record: Record, lane: Lane) -> tuple[str, int, int] | None:
    """Which record of this lane a replayed prediction answers."""
    of = (header(record.headers, "replay.run"), header(record.headers, "replay.lane"))
    place = header(record.headers, "replay.place")
    if of != (lane.run, str(lane.lane)) or place is None:
        return None
    topic, _, rest = place.rpartition("/")
    partition, offset = rest.split("@")
    return topic, int(partition), int(offset)
