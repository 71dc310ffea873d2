"""Columns of transactions to the bytes of their events: each is a copy of a template with its digits written over.

Between `bank`, which draws columns, and `flood`, which sends record batches. The template is a real event as `app.codec`
encodes it, so that a change of the message is a change of what is sent.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from app.codec import encode
from app.events import AnyTransaction, FraudReported, Source, TransactionMade
from simulator.bank import DAY_S, Ints
from simulator.record_batch import Bytes, body

_FOUR = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), dtype=np.uint8).reshape(-1, 4)
_OF_DAY = np.frombuffer(
    b"".join(b"%02d:%02d:%02d" % (s // 3600, s // 60 % 60, s % 60) for s in range(DAY_S)), dtype=np.uint8
).reshape(-1, 8)
_NUMBER, _CARD, _TERMINAL, _CENTS = 983_412_765_098, 81_726_354, 19_283_746, 765_432
_AT, _MADE_AT = (datetime(year, 12, 31, 23, 57, 58, 123_456, tzinfo=UTC) for year in (1998, 1999))


def transaction_id(run: str, number: int) -> str:
    """Twelve digits, so that all are equally long and in order as text."""
    return f"{run}-{number:012d}"


def card_id(number: int) -> str:
    return f"card-{number:08d}"


def holder_id(number: int) -> str:
    """The user whose card it is."""
    return f"holder-{number:08d}"


def terminal_id(number: int) -> str:
    return f"terminal-{number:08d}"


class Template:
    """The records of one kind of event and one source.

    Args:
        run: begins every id.
        reported: `FraudReported`, else `TransactionMade`.
    """

    def __init__(self, run: str, source: Source, *, reported: bool = False) -> None:
        event = _example(run, source, reported=reported)
        record = body(event.key.encode(), encode(event))
        self._row = np.frombuffer(record, dtype=np.uint8)
        marks = {
            "number": b"%012d" % _NUMBER,
            "card": b"%08d" % _CARD,
            "terminal": b"%08d" % _TERMINAL,
            "cents": b"%.2f" % (_CENTS / 100),
            "at": encode_instant(_AT),
            "made_at": encode_instant(_MADE_AT),
        }
        self._places = {name: list(_occurrences(record, mark)) for name, mark in marks.items()}

    def fill(self, columns: Mapping[str, Ints]) -> Bytes:
        """(n, width): the records' bodies. Instants are microseconds since 1970, money is in cents."""
        text = {
            "number": digits(columns["number"], 12),
            "card": digits(columns["card"], 8),
            "terminal": digits(columns["terminal"], 8),
            "cents": _money(columns["cents"]),
            "at": _instants(columns["at"]),
        }
        if "made_at" in columns:
            text["made_at"] = _instants(columns["made_at"])
        rows = np.empty((len(columns["number"]), len(self._row)), dtype=np.uint8)
        rows[:] = self._row
        for name, written in text.items():
            for place in self._places[name]:
                rows[:, place : place + written.shape[1]] = written
        return rows


def digits(numbers: Ints, width: int) -> Bytes:
    """(n, width), `width` a multiple of four: decimal, with leading zeros."""
    groups = [_FOUR[numbers // 10**power % 10_000] for power in range(width - 4, -1, -4)]
    return np.concatenate(groups, axis=1)


def encode_instant(at: datetime) -> bytes:
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z".encode()


def _instants(microseconds: Ints) -> Bytes:
    """(n, 27): RFC 3339 with microseconds, in UTC."""
    days, of_day = np.divmod(microseconds, DAY_S * 1_000_000)
    seconds, fraction = np.divmod(of_day, 1_000_000)
    known, which = np.unique(days, return_inverse=True)
    rows = np.empty((len(days), 27), dtype=np.uint8)
    rows[:, :11] = _text(np.datetime_as_string(known.view("datetime64[D]")), b"T")[which]
    rows[:, 11:19] = _OF_DAY[seconds]
    rows[:, 19], rows[:, 20:26], rows[:, 26] = ord("."), digits(fraction, 8)[:, 2:], ord("Z")
    return rows


def _text(strings: NDArray[np.str_], ending: bytes) -> Bytes:
    """(n, width) of equally long strings."""
    return np.frombuffer(b"".join(each.encode() + ending for each in strings.tolist()), np.uint8).reshape(
        len(strings), -1
    )


def _money(cents: Ints) -> Bytes:
    """(n, 7): dollars with two places; blanks for leading zeros, which JSON allows before a number but not in it."""
    places = digits(cents, 8)[:, 2:]
    rows = np.empty((len(cents), 7), dtype=np.uint8)
    rows[:, :4], rows[:, 4], rows[:, 5:] = places[:, :4], ord("."), places[:, 4:]
    dollars = cents // 100
    for place, least in enumerate((1000, 100, 10)):
        rows[dollars < least, place] = ord(" ")
    return rows


def _example(run: str, source: Source, *, reported: bool) -> AnyTransaction:
    """An event with every field that is written over at its full width, and with a value of its own."""
    made = TransactionMade(
        event_id=transaction_id(run, _NUMBER),
        user_id=holder_id(_CARD),
        at=_AT,
        transaction_id=transaction_id(run, _NUMBER),
        card_id=card_id(_CARD),
        terminal_id=terminal_id(_TERMINAL),
        source=source,
        amount_usd=_CENTS / 100,
    )
    return report_of(made, _AT, _MADE_AT) if reported else made


def report_of(made: TransactionMade, at: datetime, made_at: datetime | None = None) -> FraudReported:
    """That this transaction was a fraud, as it is told at `at`."""
    return FraudReported(
        event_id=f"{made.event_id}.fraud",
        user_id=made.user_id,
        at=at,
        transaction_id=made.transaction_id,
        card_id=made.card_id,
        terminal_id=made.terminal_id,
        source=made.source,
        amount_usd=made.amount_usd,
        made_at=made_at or made.at,
    )


def _occurrences(text: bytes, mark: bytes) -> NDArray[np.int64]:
    view = np.lib.stride_tricks.sliding_window_view(np.frombuffer(text, dtype=np.uint8), len(mark))
    return np.flatnonzero((view == np.frombuffer(mark, dtype=np.uint8)).all(axis=1))
