"""Kafka record batches (format v2) of equally long records, built as one matrix: a hundredth of a call per record.

For `flood` alone. Everything else lets aiokafka build its batches, record by record, which costs about a microsecond each
and is the cheaper thing to read. The layout is Kafka's own: https://kafka.apache.org/documentation/#recordbatch
"""

import struct

import numpy as np
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
"""(n, width): one record to a row."""

_HEADER = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH, _BEFORE_CRC = 12, 21
_SHORT = 64
"""Offsets below this take one byte as a zigzag varint, those below `MOST` two."""

MOST = 2_000
"""Records to a batch: with 350 bytes each it stays below the megabyte a broker takes by default."""


class Packed(BatchBuilder):  # type: ignore[misc]  # aiokafka ships no types
    """A batch that is built already, in the shape `AIOKafkaProducer.send_batch` takes."""

    def __init__(self, buffer: bytes, count: int) -> None:
        self._buffer, self._relative_offset, self._closed = buffer, count, True


def body(key: bytes, value: bytes) -> bytes:
    """What of a record does not depend on its place in the batch: key, value, no headers."""
    return varint(len(key)) + key + varint(len(value)) + value + varint(0)


def pack(bodies: Bytes, timestamp_ms: int) -> Packed:
    """The batch of these bodies, `MOST` at most, all with this timestamp.

    Example:
        >>> rows = np.frombuffer(body(b"k", b"v" * 80), dtype=np.uint8)[None, :].repeat(70, axis=0)
        >>> pack(rows, 0).record_count()
        70
    """
    count = len(bodies)
    records = _framed(bodies[:_SHORT], 0).tobytes() + _framed(bodies[_SHORT:], _SHORT).tobytes()
    tail = struct.pack(">hiqqqhii", 0, count - 1, timestamp_ms, timestamp_ms, -1, -1, -1, count) + records
    head = struct.pack(">qiibI", 0, _HEADER.size - _BEFORE_LENGTH + len(records), -1, 2, calc_crc32c(tail))
    return Packed(head + tail, count)


def varint(number: int) -> bytes:
    r"""Zigzag, seven bits to a byte, the lowest first.

    Example:
        >>> varint(0), varint(-1), varint(64)
        (b'\x00', b'\x01', b'\x80\x01')
    """
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _framed(bodies: Bytes, first: int) -> Bytes:
    """Length, attributes, timestamp delta and offset delta before each body."""
    n, width = bodies.shape
    places = np.arange(first, first + n, dtype=np.int64) * 2
    offset = 1 if first < _SHORT else 2
    length = np.frombuffer(varint(2 + offset + width), dtype=np.uint8)
    out = np.zeros((n, len(length) + 2 + offset + width), dtype=np.uint8)
    out[:, : len(length)] = length
    place = len(length) + 2
    if offset == 1:
        out[:, place] = places
    else:
        out[:, place] = places & 0x7F | 0x80
        out[:, place + 1] = places >> 7
    out[:, place + offset :] = bodies
    return out
