"""Predictions leave in columns where the topics table says so: the same predictions, in records that fit."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from agents.fraud import fraud
from app.agent import Scores, agent
from app.codec import Decoder, header
from app.events import FraudReported, TransactionMade
from app.modes.scoring import tables
from app.modes.scoring.process import Outcome, Processor, Scored, outgoing
from app.modes.scoring.tables import MOST_ROWS, fitting, table_of
from app.predictions import Details, PredictionBatch
from app.telemetry import RECORDS
from app.testing import Events, record
from app.topics import CARD_PREDICTIONS, DEAD_LETTERS, MAX_PREDICTION_BYTES, PREDICTIONS

AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
decoder: Decoder[PredictionBatch] = Decoder(PredictionBatch)


@agent("noted", consumes=(TransactionMade,), unit="probability")
def noted(batch: Sequence[TransactionMade]) -> Any:
    return np.zeros((len(batch), 1))


def processor(of: Any = fraud) -> Processor:
    return Processor(of, "7", Decoder(TransactionMade), None, clock=lambda: AT)  # type: ignore[arg-type]  # nothing is scored


def scored(events: Sequence[Any], problems: dict[int, str] | None = None, details: Any = None) -> Scored:
    records = [record(event, "transactions.pos", 2, 10 + row) for row, event in enumerate(events)]
    values = np.linspace(0, 1, len(events))
    given = fraud.detail(None, events, None, values) if details is None and fraud.detail else details
    return Scored(records, events, Scores(values, given, problems or {}), [])


def sent(outcome: Outcome, name: str = "fraud") -> list[PredictionBatch]:
    return [decoder.decode(out.value) for out in outgoing(name, outcome) if out.topic == CARD_PREDICTIONS.name]


def test_in_columns_it_says_what_it_says_one_by_one() -> None:
    what = scored([Events().transaction() for _ in range(5)])
    (batch,) = sent(processor().tabulate(what))
    assert list(batch.rows()) == [prediction for _, prediction in processor().word(what).predicted]
    assert batch.key == [event.key for event in what.events]
    (out,) = outgoing("fraud", processor().tabulate(what))
    assert (out.key, out.partition, header(out.headers, "ce_type")) == (None, 2, "millrace.predictions.v1")


def test_a_prediction_alone_is_a_record_of_one_row() -> None:
    what = scored([Events().transaction()])
    ((source, said),) = processor().word(what).predicted
    (batch,) = sent(Outcome(AT, [(source, said)], []))
    assert list(batch.rows()) == [said]
    assert table_of(source, said).partition == 2


def test_what_failed_or_is_only_followed_is_in_no_row() -> None:
    events = Events()
    made = [events.transaction() for _ in range(4)]
    facts = {name: getattr(made[1], name) for name in made[1].__struct_fields__}
    report = FraudReported(**facts, made_at=made[1].at)
    what = scored([made[0], report, made[2], made[3]], problems={2: "the model answered NaN"})
    (batch,) = sent(processor().tabulate(what))
    assert batch.event_id == [made[0].event_id, made[3].event_id]
    assert batch.offset == [10, 13]
    assert batch.detail["terminal_id"] == ["till-1", "till-1"]


def test_only_rows_that_have_a_trace_tell_one() -> None:
    what = scored([Events().transaction() for _ in range(3)])
    traced = what.records[1]._replace(headers=(*what.records[1].headers, ("traceparent", TRACE.encode())))
    what = Scored([what.records[0], traced, what.records[2]], what.events, what.scores, [])
    (batch,) = sent(processor().tabulate(what))
    assert list(batch.traceparent) == [1]
    assert batch.traceparent[1][:36] == TRACE[:36]
    assert batch.traceparent[1] != TRACE


def test_many_rows_are_several_records() -> None:
    what = scored([Events().transaction() for _ in range(MOST_ROWS + 1)])
    before = RECORDS.labels("fraud", "predicted")._value.get()
    batches = sent(processor().tabulate(what))
    assert [len(batch) for batch in batches] == [MOST_ROWS, 1]
    assert RECORDS.labels("fraud", "predicted")._value.get() - before == MOST_ROWS + 1


def test_what_does_not_fit_is_halved_until_it_does_and_a_row_too_large_is_a_dead_letter() -> None:
    events = [Events().transaction() for _ in range(5)]
    notes = ["n" * (MAX_PREDICTION_BYTES // 3)] * 4 + ["n" * MAX_PREDICTION_BYTES]
    out = outgoing("noted", processor(noted).tabulate(scored(events, details=Details({"note": list[object](notes)}))))
    batches = [decoder.decode(each.value) for each in out if each.topic == CARD_PREDICTIONS.name]
    assert [offset for batch in batches for offset in batch.offset] == [10, 11, 12, 13]
    assert all(len(each.value or b"") < MAX_PREDICTION_BYTES for each in out if each.topic == CARD_PREDICTIONS.name)
    (letter,) = [each for each in out if each.topic == DEAD_LETTERS.name]
    assert header(letter.headers, "dlq.offset") == "14"
    assert header(letter.headers, "dlq.cause") == "prediction_too_large"


def test_a_table_that_fits_is_left_alone() -> None:
    (table,) = processor().tabulate(scored([Events().transaction() for _ in range(3)])).tables
    ((same, value),) = fitting(table, MAX_PREDICTION_BYTES)
    assert same is table
    assert len(value) < MAX_PREDICTION_BYTES


@pytest.mark.parametrize(("kind", "columns"), [("transaction", True), ("ride", False), ("upload", False)])
def test_the_topics_table_says_what_goes_in_columns(kind: str, columns: bool) -> None:
    assert (kind in tables.IN_COLUMNS) == columns


def test_an_upload_is_still_a_record_of_its_own() -> None:
    ((source, said),) = processor().word(scored([Events().transaction()])).predicted
    (out,) = outgoing("spam", Outcome(AT, [(source, msgspec.structs.replace(said, kind="upload"))], []))
    assert (out.topic, out.key) == (PREDICTIONS.name, source.key)
