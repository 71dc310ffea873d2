"""Rows of Arrow, each as the JSON of an event: worded column by column in Arrow's own kernels, and joined there.

Below `app.modes.replay.tables`. A dictionary for each row would cost more than all the rest of a replay; here it is 1 µs a
row, and nearly all of it without Python's lock.
"""

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from app.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

_encode = msgspec.json.Encoder().encode
_ESCAPED = '["\\\\\\x00-\\x1f]'
"""What may not stand as it is in a JSON string (RFC 8259, section 7)."""

_MOST_BYTES = 64 << 20
"""Worded at once; an Arrow array of strings holds 2 GiB at most, and uploads may be 100 kB each."""

_DAY_US = 86_400_000_000


def arrow(module: str) -> Any:
    """Pyarrow, which is needed for files only."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError("files need pyarrow: pip install 'millrace[train]'") from error


def rows_as_json(batch: "pa.RecordBatch", tag: str | None) -> list[bytes]:
    """The rows of a batch, in order; what is null is absent, and a column `pickup.zone` lies within `pickup`.

    `tag` is the type of the event a row is, where no column `type` says it.

    Example:
        >>> import pyarrow
        >>> rows_as_json(pyarrow.RecordBatch.from_pydict({"user_id": ["u", None], "pickup.zone": [7, 9]}), None)
        [b'{"user_id":"u","pickup":{"zone":7}}', b'{"pickup":{"zone":9}}']
    """
    lib, compute, half = arrow("pyarrow"), arrow("pyarrow.compute"), batch.num_rows // 2
    if half and batch.nbytes > _MOST_BYTES:
        return rows_as_json(batch.slice(0, half), tag) + rows_as_json(batch.slice(half), tag)
    fields: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    if tag is not None:
        fields["type"] = lib.repeat(lib.scalar(_encode(tag).decode()), batch.num_rows)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        outer, dot, field = name.partition(".")
        if dot:
            inner.setdefault(outer, {})[field] = _worded(column)
        else:
            worded = _worded(column)
            fields[name] = compute.coalesce(worded, fields[name]) if name in fields else worded
    fields |= {outer: _objects(within) for outer, within in inner.items()}
    rows: list[bytes] = _objects(fields).cast(lib.binary()).to_pylist()
    return rows


def _objects(fields: dict[str, Any]) -> Any:
    """JSON objects of fields that are JSON, row by row; of a null field there is nothing."""
    compute = arrow("pyarrow.compute")
    parts: list[Any] = []
    for name, worded in fields.items():
        part = (f"{_word(name)}:", worded, ",")
        parts += [compute.binary_join_element_wise(*part, "")] if worded.null_count else part
    # Not "skip": of a row without any value Arrow 26 then makes no row at all.
    joined = compute.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")
    return compute.binary_join_element_wise("{", compute.ascii_rtrim(joined, ","), "}", "")


def _worded(column: "pa.Array") -> Any:
    """The values as JSON, an Arrow array of strings with the same nulls."""
    lib, compute = arrow("pyarrow"), arrow("pyarrow.compute")
    types, kind = lib.types, column.type
    if types.is_dictionary(kind):
        return _worded(column.dictionary_decode())
    if types.is_timestamp(kind):
        return _instants(column)
    if types.is_string(kind) or types.is_large_string(kind):
        text = column.cast(lib.string())
        if not compute.any(compute.match_substring_regex(text, _ESCAPED)).as_py():
            return compute.binary_join_element_wise('"', text, '"', "")
    elif types.is_integer(kind) or types.is_boolean(kind):
        return column.cast(lib.string())
    elif types.is_float32(kind) or types.is_float64(kind):
        exact = column.cast(lib.float64())  # first, for the shortest text of a float32 is another float64
        return compute.if_else(compute.is_finite(exact), exact.cast(lib.string()), "null")
    return lib.array([None if value is None else _word(value) for value in column.to_pylist()], lib.string())


def _word(value: Any) -> str:
    """Any value as JSON; of a struct without what is null."""
    if isinstance(value, dict):
        value = {name: one for name, one in value.items() if one is not None}
    return _encode(value).decode()


def _instants(column: "pa.Array") -> Any:
    """RFC 3339 in UTC, from words made beforehand, ten times faster than Arrow's own way."""
    lib, compute = arrow("pyarrow"), arrow("pyarrow.compute")
    if column.type.tz is None:
        raise ConfigurationError("instants need a time zone: write them with an offset, or as timestamps in UTC")
    instants = column.cast(lib.timestamp("us", "UTC")).cast(lib.int64())
    days, rest_us = np.divmod(instants.fill_null(0).to_numpy(), _DAY_US)
    met, which = np.unique(days, return_inverse=True)
    dates = lib.array(met.astype(np.int32), lib.date32()).cast(lib.string())
    seconds, fraction_us = np.divmod(rest_us, 1_000_000)
    clock, thousand = _clock(), _thousand()
    worded = compute.binary_join_element_wise(
        '"',
        dates.take(lib.array(which)),
        clock.take(lib.array(seconds)),
        thousand.take(lib.array(fraction_us // 1000)),
        thousand.take(lib.array(fraction_us % 1000)),
        'Z"',
        "",
    )
    return worded if not column.null_count else compute.if_else(column.is_valid(), worded, None)


@cache
def _clock() -> Any:
    """Every second of a day: `T08:30:00.`, an Arrow array of 86,400 strings."""
    hours, minutes = range(24), range(60)
    return arrow("pyarrow").array([f"T{h:02}:{m:02}:{s:02}." for h in hours for m in minutes for s in minutes])


@cache
def _thousand() -> Any:
    """`000` to `999`."""
    return arrow("pyarrow").array([f"{number:03}" for number in range(1000)])
