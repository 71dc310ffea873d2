"""The inputs of an event as tensors, read off the fields of its body: one tensor per field, one per field within a field. Pure.

`gateway.signature` puts those of an agent together.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import inspect

from app.errors import InvalidMessage
from gateway.bodies import Body
from gateway.protocol import Parameters, Scalar

_NARROWER = {
    "FP64": {"FP64", "FP32", "FP16", "BF16"},
    "INT64": {"INT64", "INT32", "INT16", "INT8", "UINT32", "UINT16", "UINT8"},
}
"""What is taken for a datatype besides itself: what it holds without loss."""


class Input(NamedTuple):
    """One input tensor, of shape [rows].

    Attributes:
        path: of the field in the event's body.
        content: how a text is written: "text", "rfc3339", "json"; for numbers and truth values their own kind.
        absent: the integer that says there is none.
    """

    name: str
    path: tuple[str, ...]
    datatype: str
    content: str
    required: bool
    absent: int | None = None

    @property
    def accepts(self) -> set[str]:
        """The datatypes that are taken for it."""
        return _NARROWER.get(self.datatype, {self.datatype})

    @property
    def parameters(self) -> Parameters:
        """What the metadata says of it beyond name, datatype and shape."""
        said: Parameters = {"content": self.content, "optional": not self.required}
        return said if self.absent is None else {**said, "absent": self.absent}


def _fields(body: Body[Any]) -> list[inspect.Field]:
    """The fields of the event that the asker may fill in."""
    ours = set(body.event.__struct_fields__) - {"user_id", "event_id"}
    info = cast("inspect.StructType", inspect.type_info(body.struct))
    return [field for field in info.fields if field.name in ours]


def inputs_of(body: Body[Any]) -> Iterator[Input]:
    for field in _fields(body):
        yield from _tensors((field.name,), field.type, field.required)


def nested_in(body: Body[Any]) -> list[str]:
    """The nested messages it cannot do without: empty ones are told what they lack."""
    return [field.name for field in _fields(body) if field.required and isinstance(field.type, inspect.StructType)]


def _tensors(path: tuple[str, ...], kind: inspect.Type, required: bool) -> Iterator[Input]:
    """The tensors of one field: one, or those of the fields of a nested message."""
    kind, nullable = _bare(kind)
    name = "_".join(path)
    match kind:
        case inspect.StructType() if len(path) == 1:
            for field in kind.fields:
                yield from _tensors((*path, field.name), field.type, required and field.required)
        case inspect.FloatType():
            yield Input(name, path, "FP64", "number", required)
        case inspect.IntType():
            absent = kind.ge - 1 if nullable and kind.ge is not None else None
            yield Input(name, path, "INT64", "integer", required, absent)
        case inspect.BoolType():
            yield Input(name, path, "BOOL", "truth value", required)
        case inspect.StrType() | inspect.LiteralType():
            yield Input(name, path, "BYTES", "text", required)
        case inspect.DateTimeType():
            yield Input(name, path, "BYTES", "rfc3339", required)
        case inspect.VarTupleType() | inspect.ListType():
            yield Input(name, path, "BYTES", "json", required)
        case _:
            raise TypeError(f"no tensor is defined for the field {name}, which is {type(kind).__name__}")


def _bare(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """The type without annotations and without `None`, and whether it had that."""
    nullable = False
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
            continue
        others = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        if len(others) != 1:
            break
        kind, nullable = others[0], True
    return kind, nullable


def present(known: Input, value: Scalar | None) -> Any:
    """The value as JSON would hold it; `None` where it stands for none."""
    if value is None or (value == "" and not known.required) or (known.absent is not None and value == known.absent):
        return None
    if isinstance(value, str) and "\0" in value:
        raise InvalidMessage("a text contains NUL", known.name)
    if known.content != "json":
        return value
    try:
        return msgspec.json.decode(str(value))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidMessage("not JSON", known.name) from error
