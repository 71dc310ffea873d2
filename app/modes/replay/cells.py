"""Cells of a CSV file, all of them text, as the JSON of events: numbers where an event has numbers, nothing where a cell is empty.

Below `app.modes.replay.tables`. The events say which columns hold numbers; to guess it from the first cells would refuse a whole
file because of a description that begins with a number, or because of one cell that is none.
"""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from msgspec import inspect

from app.events import AnyEvent
from app.modes.replay.arrow_json import arrow, rows_as_json

if TYPE_CHECKING:
    import pyarrow as pa

_ABSENT = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]
"""What R, pandas and databases write for a number that is missing. In a column of text only an empty cell says nothing."""

_NUMBER = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"

_encode = msgspec.json.Encoder(decimal_format="number").encode


def cells_as_json(batch: "pa.RecordBatch", tag: str | None) -> list[bytes]:
    """The rows of a batch of text, in order. A cell that should be a number and is none stays text: its row is no event.

    `tag` is the type of the event a row is, where no column `type` says it.

    Example:
        >>> import pyarrow
        >>> cells = {"title": ["7", "NA"], "passengers": ["2", "two"], "pickup.zone": ["74", ""]}
        >>> cells_as_json(pyarrow.RecordBatch.from_pydict(cells), None)
        [b'{"title":"7","passengers":2,"pickup":{"zone":74}}', b'{"title":"NA","passengers":"two"}']
    """
    lib, compute = arrow("pyarrow"), arrow("pyarrow.compute")
    columns, odd = [], set[int]()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in numbers():
            said = _said(column, _ABSENT)
            is_number = compute.match_substring_regex(said, _NUMBER)
            odd.update(compute.indices_nonzero(compute.invert(is_number)).to_pylist())
            columns.append(compute.if_else(is_number, compute.ascii_ltrim(said, "+"), None).cast(lib.float64()))
        else:
            columns.append(_said(column, [""]))
    typed = lib.RecordBatch.from_arrays(columns, names=batch.schema.names)
    rows = rows_as_json(typed, tag)
    for row in odd:
        rows[row] = event_as_json(_as_written(typed.slice(row, 1), batch.slice(row, 1)), tag)
    return rows


def _as_written(typed: "pa.RecordBatch", given: "pa.RecordBatch") -> dict[str, Any]:
    """A row with its numbers, and as text what should be one: the decoder names the field."""
    (values,), (cells,) = typed.to_pylist(), given.to_pylist()
    wrong = {name for name in numbers() & cells.keys() if values[name] is None and cells[name] not in _ABSENT}
    return {name: cells[name] if name in wrong else value for name, value in values.items()}


def event_as_json(row: dict[str, Any], tag: str | None) -> bytes:
    """A row by the names of its columns: without what is absent, and `pickup.zone` in its place."""
    event: dict[str, Any] = {} if tag is None else {"type": tag}
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, dict):
            value = {key: one for key, one in value.items() if one is not None}
        outer, dot, inner = name.partition(".")
        if dot:
            event.setdefault(outer, {})[inner] = value
        else:
            event[name] = value
    return _encode(event)


@cache
def numbers() -> frozenset[str]:
    """The fields of any event that hold a number, nested ones with a dot.

    Example:
        >>> {"pickup.zone", "passengers", "amount_usd"} <= numbers(), "title" in numbers()
        (True, False)
    """
    return frozenset(name for event in get_args(AnyEvent) for name in _numbers(inspect.type_info(event)))


def _numbers(struct: inspect.Type, prefix: str = "") -> Iterator[str]:
    for field in struct.fields if isinstance(struct, inspect.StructType) else ():
        for kind in _kinds(field.type):
            if isinstance(kind, inspect.IntType | inspect.FloatType):
                yield prefix + field.encode_name
            yield from _numbers(kind, f"{prefix}{field.encode_name}.")


def _kinds(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    """What a field may hold; of an annotated type, what is annotated."""
    if isinstance(kind, inspect.Metadata):
        return _kinds(kind.type)
    return tuple(one for each in kind.types for one in _kinds(each)) if isinstance(kind, inspect.UnionType) else (kind,)


def _said(column: "pa.Array", absent: list[str]) -> Any:
    """The column with null where a cell says that there is nothing."""
    lib, compute = arrow("pyarrow"), arrow("pyarrow.compute")
    return compute.if_else(compute.is_in(column, value_set=lib.array(absent)), None, column)
