"""Tensors of the Open Inference Protocol v2, as JSON and as binary data: bytes -> columns, columns -> bytes. Pure.

The binary form is Triton's `binary_tensor_data` extension, which KServe has too: the JSON comes first, its length in the
header `Inference-Header-Content-Length`, then the raw bytes of each tensor in the order of the JSON, little-endian, without
padding. `gateway.signature` makes events of columns; `gateway.inference` has the routes.
"""

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from app.errors import InvalidMessage
from gateway.protocol import InputTensor, OutputTensor, Parameters, Scalar

Values = Sequence[Scalar | None]
"""`None` is absent: `null` in JSON, NaN in a tensor of floats."""

_NUMPY = {
    "BOOL": "?",
    **{f"{kind}{bits}": f"<{kind[0].lower()}{bits // 8}" for kind in ("UINT", "INT") for bits in (8, 16, 32, 64)},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BF16": "<u2",  # the upper half of an FP32; numpy has none of its own
}
DATATYPES = frozenset((*_NUMPY, "BYTES"))
_LENGTH = struct.Struct("<I")


class Column(NamedTuple):
    """A tensor of one value per row; a `datatype` of FP64 or BYTES where it is an output."""

    name: str
    datatype: str
    values: Values


def decode(tensors: Sequence[InputTensor], binary: bytes) -> list[Column]:
    """The columns of a request, `binary` being what follows its JSON.

    Raises `InvalidMessage` that names the tensor: of an unknown datatype, or whose shape, size and data disagree.
    """
    columns, begin = [], 0
    for tensor in tensors:
        rows = _rows(tensor)
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            values = _from_json(tensor, rows)
        else:
            end = begin + _size(tensor, size, len(binary) - begin)
            values, begin = _from_binary(tensor, rows, binary[begin:end]), end
        columns.append(Column(tensor.name, tensor.datatype, values))
    if begin != len(binary):
        raise InvalidMessage(f"{len(binary) - begin} bytes follow the last tensor", "inputs")
    return columns


def encode(columns: Sequence[Column], binary: Sequence[bool]) -> tuple[list[OutputTensor], bytes]:
    """The outputs as the JSON describes them, and the binary data that follows it; NaN is `null` in JSON."""
    outputs, blobs = [], []
    for column, as_bytes in zip(columns, binary, strict=True):
        shape = [len(column.values)]
        if as_bytes:
            blobs.append(_to_binary(column))
            size: Parameters = {"binary_data_size": len(blobs[-1])}
            outputs.append(OutputTensor(name=column.name, datatype=column.datatype, shape=shape, parameters=size))
        else:
            data = [None if _is_nan(value) else value for value in column.values]
            outputs.append(OutputTensor(name=column.name, datatype=column.datatype, shape=shape, data=data))
    return outputs, b"".join(blobs)


def _rows(tensor: InputTensor) -> int:
    if tensor.datatype not in DATATYPES:
        raise InvalidMessage("a datatype the protocol does not have", tensor.name)
    match tensor.shape:
        case [rows] | [rows, 1] if rows > 0:
            return rows
        case _:
            raise InvalidMessage("its shape is not [rows], one row or more", tensor.name)


def _size(tensor: InputTensor, size: Scalar | None, left: int) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidMessage("binary_data_size is not a number of bytes", tensor.name)
    if tensor.data is not None:
        raise InvalidMessage("it has both data and binary_data_size", tensor.name)
    if size > left:
        raise InvalidMessage(f"its binary_data_size is {size}, and {left} bytes are left of the body", tensor.name)
    return size


def _from_json(tensor: InputTensor, rows: int) -> Values:
    if tensor.data is None:
        raise InvalidMessage("it has no data", tensor.name)
    data: list[object] = tensor.data
    if len(tensor.shape) == 2 and all(isinstance(value, list) for value in data):  # nested, as the protocol allows
        data = list(chain.from_iterable(value for value in data if isinstance(value, list)))
    if len(data) != rows:
        raise InvalidMessage(f"its shape says {rows} values, and it has {len(data)}", tensor.name)
    values: list[Scalar | None] = []
    for row, value in enumerate(data):
        if value is not None and not (isinstance(value, bool | int | float | str) and _fits(tensor.datatype, value)):
            raise InvalidMessage(f"row {row}: not a value of {tensor.datatype}", tensor.name)
        values.append(value)
    return values


def _fits(datatype: str, value: Scalar) -> bool:
    """Whether a JSON value is one of the datatype. To Python a truth value is a number; to the protocol it is not."""
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL" or isinstance(value, bool):
        return datatype == "BOOL" and isinstance(value, bool)
    if "FP" in datatype or datatype == "BF16":
        return isinstance(value, int | float)
    limits = np.iinfo(_NUMPY[datatype])
    return isinstance(value, int) and limits.min <= value <= limits.max


def _from_binary(tensor: InputTensor, rows: int, blob: bytes) -> Values:
    if tensor.datatype == "BYTES":
        return _texts(tensor, rows, blob)
    width = np.dtype(_NUMPY[tensor.datatype]).itemsize
    if len(blob) != rows * width:
        wanted = f"its shape says {rows} values of {width} bytes"
        raise InvalidMessage(f"{wanted}, and binary_data_size is {len(blob)}", tensor.name)
    if tensor.datatype == "BOOL" and blob.translate(None, b"\x00\x01"):
        raise InvalidMessage("a truth value is a byte of 0 or 1", tensor.name)
    array = np.frombuffer(blob, _NUMPY[tensor.datatype])
    if tensor.datatype == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    values: Values = array.tolist()
    return [None if _is_nan(value) else value for value in values]


def _texts(tensor: InputTensor, rows: int, blob: bytes) -> Values:
    """UTF-8 texts, each behind its length in bytes."""
    texts: list[str] = []
    begin = 0
    try:
        while begin < len(blob):
            (length,) = _LENGTH.unpack_from(blob, begin)
            begin += _LENGTH.size
            if begin + length > len(blob):
                raise InvalidMessage(f"row {len(texts)}: longer than binary_data_size allows", tensor.name)
            texts.append(blob[begin : begin + length].decode())
            begin += length
    except struct.error as error:
        raise InvalidMessage(f"row {len(texts)}: its length is cut short", tensor.name) from error
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"row {len(texts)}: not UTF-8", tensor.name) from error
    if len(texts) != rows:
        raise InvalidMessage(f"its shape says {rows} values, and it has {len(texts)}", tensor.name)
    return texts


def _to_binary(column: Column) -> bytes:
    if column.datatype == "BYTES":
        texts = [str(text).encode() for text in column.values]
        return b"".join(chain.from_iterable((_LENGTH.pack(len(text)), text) for text in texts))
    return np.asarray(column.values, _NUMPY[column.datatype]).tobytes()


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
