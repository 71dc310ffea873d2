"""What is written over a template is the event it stands for, to the byte that matters."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords

from app.codec import Decoder
from app.events import AnyTransaction, FraudReported, Source, TransactionMade
from simulator.bank import Ints
from simulator.record_batch import MOST, pack
from simulator.wire import Template, card_id, holder_id, terminal_id, transaction_id

decoder: Decoder[AnyTransaction] = Decoder(AnyTransaction)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def columns(n: int) -> dict[str, Ints]:
    rng = np.random.default_rng(n)
    return {
        "number": np.sort(rng.choice(10**12 - 1, n, replace=False)),
        "card": rng.integers(0, 10**8, n),
        "terminal": rng.integers(0, 10**8, n),
        "cents": np.concatenate([[1, 99, 100, 999, 1_000, 99_999, 100_000, 999_999], rng.integers(1, 10**6, n - 8)]),
        "at": rng.integers(0, 4 * 10**15, n),
    }


@pytest.mark.parametrize("source", ["atm", "online", "pos"])
def test_every_row_is_its_transaction(source: Source) -> None:
    drawn = columns(3 * MOST // 2)
    rows = Template("r-1", source).fill(drawn)
    parts = [pack(rows[:MOST], 5), pack(rows[MOST:], 6)]
    records = [record for part in parts for record in _read(part._build())]
    assert [r.timestamp for r in records] == [5] * MOST + [6] * (len(rows) - MOST)
    for row, record in enumerate(records):
        number, card, terminal, cents, at = (int(drawn[name][row]) for name in drawn)
        assert record.key == card_id(card).encode()
        assert decoder.decode(record.value) == TransactionMade(
            event_id=transaction_id("r-1", number),
            transaction_id=transaction_id("r-1", number),
            user_id=holder_id(card),
            card_id=card_id(card),
            terminal_id=terminal_id(terminal),
            source=source,
            amount_usd=cents / 100,
            at=EPOCH + timedelta(microseconds=at),
        )


def test_a_report_repeats_its_transaction_and_says_when_it_was_made() -> None:
    drawn = columns(20)
    after = {**drawn, "made_at": drawn["at"], "at": drawn["at"] + 7 * 86_400 * 10**6}
    (batch,) = [pack(Template("r", "pos", reported=True).fill(after), 0)]
    for row, record in enumerate(_read(batch._build())):
        report = decoder.decode(record.value)
        assert isinstance(report, FraudReported)
        assert report.transaction_id == transaction_id("r", int(drawn["number"][row]))
        assert report.event_id == f"{report.transaction_id}.fraud"
        assert report.at - report.made_at == timedelta(days=7)


def _read(buffer: bytes) -> list[object]:
    """The records of one batch as a consumer finds them, its checksum looked at."""
    batch = MemoryRecords(buffer).next_batch()
    assert batch.validate_crc()
    records = list(batch)
    assert [record.offset for record in records] == list(range(len(records)))
    return records
