"""Tensors: what goes in comes out, in JSON and in binary; what does not fit is told by the tensor's name."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidMessage
from gateway.protocol import InputTensor
from gateway.tensors import Column, decode, encode

REAL = st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = st.one_of(
    st.lists(st.floats(allow_nan=False), min_size=1).map(lambda values: Column("x", "FP64", values)),
    st.lists(st.text(st.characters(codec="utf-8")), min_size=1).map(lambda values: Column("x", "BYTES", values)),
)


def tensor(datatype: str, shape: list[int], **more: object) -> InputTensor:
    return InputTensor(name="x", datatype=datatype, shape=shape, **more)  # type: ignore[arg-type]  # keywords


def binary(datatype: str, blob: bytes, rows: int = 2) -> list[Column]:
    return decode([tensor(datatype, [rows], parameters={"binary_data_size": len(blob)})], blob)


@given(st.lists(COLUMNS, min_size=1, max_size=3))
def test_binary_round_trip(columns: list[Column]) -> None:
    outputs, blob = encode(columns, [True] * len(columns))
    inputs = msgspec.convert(msgspec.to_builtins(outputs), list[InputTensor])
    assert decode(inputs, blob) == columns


@given(st.lists(REAL, min_size=1))
def test_json_round_trip(values: list[float]) -> None:
    outputs, blob = encode([Column("x", "FP64", values)], [False])
    inputs = msgspec.json.decode(msgspec.json.encode(outputs), type=list[InputTensor])
    assert (blob, decode(inputs, b"")) == (b"", [Column("x", "FP64", values)])


def test_nan_is_null_in_json_and_absent_on_the_way_in() -> None:
    column = Column("x", "FP64", [1.5, float("nan")])
    assert encode([column], [False])[0][0].data == [1.5, None]
    assert binary("FP64", np.array([1.5, np.nan]).tobytes())[0].values == [1.5, None]


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [
        *((f"{kind.upper()}{bits}", f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
        *(("FP16", "float16"), ("FP32", "float32"), ("FP64", "float64"), ("BOOL", "bool")),
    ],
)
def test_every_datatype_is_read_as_numpy_lays_it_out(datatype: str, dtype: str) -> None:
    array = np.array([0, 1], dtype)
    if "int" in dtype:
        array = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    assert binary(datatype, array.tobytes())[0].values == array.tolist()
    assert decode([tensor(datatype, [2], data=array.tolist())], b"")[0].values == array.tolist()


def test_bf16_is_the_upper_half_of_fp32() -> None:
    upper = np.array([1.5, -0.25], "<f4").view("<u4") >> 16
    assert binary("BF16", upper.astype("<u2").tobytes())[0].values == [1.5, -0.25]


def test_a_column_may_have_a_second_dimension_of_one_nested_or_flat() -> None:
    for data in ([[1], [2]], [1, 2]):
        assert decode([tensor("INT64", [2, 1], data=data)], b"")[0].values == [1, 2]


def test_binary_and_json_tensors_may_be_mixed() -> None:
    first = tensor("INT8", [1], parameters={"binary_data_size": 1})
    second = InputTensor(name="y", datatype="BYTES", shape=[1], data=["é"])
    third = InputTensor(name="z", datatype="BYTES", shape=[1], parameters={"binary_data_size": 6})
    columns = decode([first, second, third], b"\x07\x02\x00\x00\x00" + "é".encode())
    assert [column.values for column in columns] == [[7], ["é"], ["é"]]


BAD_JSON = {
    "no datatype of ours": ("FP99", [1], [1]),
    "no rows": ("FP64", [0], []),
    "negative": ("FP64", [-1], []),
    "two columns": ("FP64", [1, 2], [1, 2]),
    "no shape": ("FP64", [], [1]),
    "too few": ("FP64", [2], [1]),
    "too many": ("FP64", [2], [1, 2, 3]),
    "a huge shape": ("FP64", [2**62], [1]),
    "a text": ("FP64", [1], ["1"]),
    "a truth value": ("FP64", [1], [True]),
    "a number for a truth value": ("BOOL", [1], [1]),
    "a fraction": ("INT64", [1], [1.5]),
    "a number for a text": ("BYTES", [1], [1]),
    "beyond INT8": ("INT8", [1], [128]),
    "below UINT8": ("UINT8", [1], [-1]),
    "4,000 digits": ("INT64", [1], [10**4000]),
    "an object": ("BYTES", [1], [{}]),
    "nested": ("FP64", [1], [[1]]),
    "no data": ("FP64", [1], None),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_json_that_does_not_fit_names_the_tensor(name: str) -> None:
    datatype, shape, data = BAD_JSON[name]
    with pytest.raises(InvalidMessage) as caught:
        decode([tensor(datatype, shape, data=data)], b"")
    assert caught.value.field == "x"


BAD_BINARY: dict[str, tuple[str, object, bytes]] = {
    "too short": ("FP64", 8, b"\0" * 8),
    "too long": ("FP64", 24, b"\0" * 24),
    "beyond the body": ("FP64", 16, b"\0" * 8),
    "no number": ("FP64", "16", b"\0" * 16),
    "true": ("FP64", True, b"\0" * 16),
    "negative": ("FP64", -16, b"\0" * 16),
    "a fraction": ("FP64", 16.0, b"\0" * 16),
    "2 for a truth value": ("BOOL", 2, b"\1\2"),
    "a length cut short": ("BYTES", 7, b"\1\0\0\0a\1\0"),
    "a text cut short": ("BYTES", 9, b"\1\0\0\0a\2\0\0\0"),
    "a length of 4 GB": ("BYTES", 8, b"\xff\xff\xff\xffabcd"),
    "one text of two": ("BYTES", 5, b"\1\0\0\0a"),
    "not UTF-8": ("BYTES", 10, b"\1\0\0\0a\1\0\0\0\xff"),
}


@pytest.mark.parametrize("name", BAD_BINARY)
def test_binary_data_that_does_not_fit_names_the_tensor(name: str) -> None:
    datatype, size, blob = BAD_BINARY[name]
    with pytest.raises(InvalidMessage) as caught:
        decode([tensor(datatype, [2], parameters={"binary_data_size": size})], blob)
    assert caught.value.field == "x"


def test_data_said_twice_or_belonging_to_nobody_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="both"):
        decode([tensor("INT8", [1], data=[1], parameters={"binary_data_size": 1})], b"\1")
    with pytest.raises(InvalidMessage, match="1 bytes follow"):
        decode([tensor("INT8", [1], parameters={"binary_data_size": 1})], b"\1\2")
