"""The journal's ways with SQLite's file; what it keeps is tested with the store, on both databases."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import ServiceUnavailable
from app.sql.journal import Journal
from app.sql.ledger import Case, Entry, Position

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RIDE = Case(
    event_id="e1",
    subject_id="r1",
    user_id="u1",
    kind="ride",
    event_at=NOW,
    position=Position("rides", 0, 7, 0),
    seen_at=NOW,
    traceparent=None,
)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal.open(f"sqlite:///{tmp_path / 'store.db'}")) as journal:
        yield journal


def test_a_hasty_one_writes_into_the_same_file_and_does_not_wait_for_another_writer(journal: Journal) -> None:
    hasty = journal.hasty()
    assert hasty is not None
    with closing(hasty):
        hasty.save(Entry(NOW, {RIDE.event_key: RIDE}))
        assert [each.cases for each in journal.load([RIDE.key])] == [[RIDE]]
        with journal.transaction() as other:
            other.execute(text("DELETE FROM cases"))
            with pytest.raises(ServiceUnavailable, match="locked"):
                hasty.save(Entry(NOW, {RIDE.event_key: RIDE}))
            assert [each.cases for each in hasty.load([RIDE.key])] == [[RIDE]], "reading waits for nobody"


def test_in_memory_there_is_no_file_that_two_could_open() -> None:
    with closing(Journal.open("sqlite://")) as journal:
        assert journal.hasty() is None
