"""Rows of Parquet and CSV files and of SQL queries, each as the JSON of an event. `app.modes.replay.files` replays them.

Columns bear the names of the event's fields; a nested field is a column with a dot (`pickup.zone`), or a struct of Parquet.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.errors import ConfigurationError, ServiceUnavailable
from app.modes.replay.arrow_json import arrow, rows_as_json
from app.modes.replay.cells import cells_as_json, event_as_json
from app.sql.engine import engine_for, whereabouts

if TYPE_CHECKING:
    import pyarrow as pa

Values = list[bytes]
"""Rows as JSON, in order."""

PIECE = 8192
"""Rows read at once."""

_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
_COLON = re.compile(r"(?<![:\\]):(?=\w)")
"""What SQLAlchemy would take for a parameter to be bound; there are none in a query as it is typed."""


def in_one_line(error: BaseException) -> str:
    """What a library says, over several lines at times, in one."""
    return " ".join(str(error).split())


class Table(Protocol):
    """Rows that can be read again, in the same order, from any row on.

    Attributes:
        borders: rows at which reading may begin without reading those before, ascending, the first row among them; empty where
            it must begin at the beginning, so that workers cannot share it.
        only: the tag of the event that every row is; `None` where they may differ, or it is not known beforehand.
    """

    borders: Sequence[int]
    only: str | None

    def count(self) -> int: ...

    def values(self, first: int, end: int) -> Iterator[Values]:
        """Rows `first` to `end`, `end` excluded, in pieces of any size."""
        ...


class ParquetTable:
    """A Parquet file, row group by row group; memory is that of one batch."""

    def __init__(self, path: Path, events: str | None) -> None:
        self._path, self._events = path, events
        parquet = arrow("pyarrow.parquet")
        try:
            self._file = parquet.ParquetFile(path)
        except (arrow("pyarrow").ArrowInvalid, OSError) as error:
            raise ConfigurationError(f"{path}: not a readable Parquet file ({in_one_line(error)})") from error
        self.only = events if "type" not in self._file.schema_arrow.names else None
        groups = range(self._file.num_row_groups)
        self._ends = list(accumulate(self._file.metadata.row_group(group).num_rows for group in groups))
        self.borders: Sequence[int] = [0, *self._ends][: len(self._ends)]

    def count(self) -> int:
        return int(self._file.metadata.num_rows)

    def values(self, first: int, end: int) -> Iterator[Values]:
        """Row groups that lie wholly before `first` or after `end` are not read."""
        spans = enumerate(zip(self.borders, self._ends, strict=True))
        groups = [group for group, (begins, ends) in spans if ends > first and begins < end]
        skip, left = first - self.borders[groups[0]] if groups else 0, end - first
        for batch in self._batches(groups, first):
            piece = batch.slice(skip, left) if skip < batch.num_rows else batch.slice(0, 0)
            skip = max(0, skip - batch.num_rows)
            left -= piece.num_rows
            if piece.num_rows:
                yield rows_as_json(piece, self._events)
            if left <= 0:
                return

    def _batches(self, groups: Sequence[int], first: int) -> "Iterator[pa.RecordBatch]":
        row = self.borders[groups[0]] if groups else first
        try:
            for batch in self._file.iter_batches(PIECE, row_groups=groups):
                yield batch
                row += batch.num_rows
        except (arrow("pyarrow").ArrowInvalid, OSError) as error:
            problem = f"rows from {row:,} on cannot be read ({in_one_line(error)}): the file is damaged, put it right"
            raise ConfigurationError(f"{self._path}: {problem}") from error


class CsvTable:
    """A CSV file in UTF-8 with a header; a quoted cell may go on over several lines. `app.modes.replay.cells` reads the cells."""

    borders: Sequence[int] = ()
    only: str | None = None

    def __init__(self, path: Path, events: str | None) -> None:
        self._path, self._events = path, events

    def count(self) -> int:
        return sum(batch.num_rows for batch in self._batches())

    def values(self, first: int, end: int) -> Iterator[Values]:
        row = 0
        for batch in self._batches():
            piece = batch.slice(min(max(0, first - row), batch.num_rows), max(0, end - max(first, row)))
            row += batch.num_rows
            if piece.num_rows:
                yield cells_as_json(piece, self._events)
            if row >= end:
                return

    def _batches(self) -> "Iterator[pa.RecordBatch]":
        csv, lib = arrow("pyarrow.csv"), arrow("pyarrow")
        lines = csv.ParseOptions(newlines_in_values=True)
        try:
            with csv.open_csv(self._path, parse_options=lines) as reader:
                names = reader.schema.names
            text = csv.ConvertOptions(column_types=dict.fromkeys(names, lib.string()), strings_can_be_null=False)
            with csv.open_csv(self._path, parse_options=lines, convert_options=text) as reader:
                yield from reader
        except (lib.ArrowInvalid, OSError) as error:
            raise ConfigurationError(f"{self._path}: not a readable CSV file ({in_one_line(error)})") from error


class QueryTable:
    """What a SQL query returns. Its order must be the same each time, so that a run can be continued: it says ORDER BY."""

    borders: Sequence[int] = ()
    only: str | None = None

    def __init__(self, query: str, database_url: str, events: str | None) -> None:
        if not _ORDERED.search(_COMMENT.sub("", query)):
            raise ConfigurationError("--sql: say ORDER BY, over something unique, so that a run can be continued")
        self._query = _COLON.sub(r"\:", query.rstrip().rstrip(";"))
        self._engine, self._events = engine_for(database_url, "--sql-url"), events

    def count(self) -> int:
        counted = select(func.count()).select_from(text(f"({self._query}\n) AS rows_to_replay"))
        try:
            with self._engine.connect() as connection:
                return int(connection.scalar(counted) or 0)
        except SQLAlchemyError as error:
            raise ConfigurationError(self._told(error)) from error

    def values(self, first: int, end: int) -> Iterator[Values]:
        try:
            with self._engine.connect() as connection:
                streamed = connection.execution_options(stream_results=True, yield_per=PIECE)
                row = 0
                for rows in streamed.execute(text(self._query)).mappings().partitions():
                    fresh = rows[max(0, first - row) : max(0, end - row)]
                    row += len(rows)
                    if fresh:
                        yield [event_as_json(dict(one), self._events) for one in fresh]
        except SQLAlchemyError as error:
            raise ServiceUnavailable("database", self._told(error)) from error

    def _told(self, error: SQLAlchemyError) -> str:
        said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        return f"--sql, asked of {whereabouts(self._engine.url, '--sql-url')}: {in_one_line(said)}"
