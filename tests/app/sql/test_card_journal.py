"""What is written down of card transactions: each counts once, whatever comes twice or in another order."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine, text

from app.decisions import Action, Decision, Figure
from app.events import FraudReported
from app.sql.card_journal import CardJournal, Count, Held
from app.sql.journal import Journal
from app.sql.ledger import Case, ChargeTally, DecisionKey, Entry, Made, Mark, Position, SubjectKey
from app.sql.schema import metadata
from app.store import Store
from app.testing import START as NOW


@pytest.fixture(params=["sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CardJournal]:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres")
    journal = CardJournal.open(url)
    yield journal
    metadata.drop_all(journal._engine)
    journal.close()


def decision(name: str, action: Action = "block") -> Decision:
    return Decision(
        decision_id=f"e-{name}.0",
        subject_id=name,
        user_id="u",
        kind="transaction",
        event_id=f"e-{name}",
        event_at=NOW,
        at=NOW,
        action=action,
        reasons=("it looks like fraud",),
        predictions=(Figure(model="fraud", version="1", value=0.9, unit="probability"),),
    )


def entry(*decisions: Decision) -> Entry:
    position = Position("transactions.pos", 1, 7, 0)
    cases = [
        Case(
            event_id=each.event_id, subject_id=each.subject_id, user_id=each.user_id, kind=each.kind,
            event_at=NOW, position=position, seen_at=NOW, revision=0,
        )
        for each in decisions
    ]  # fmt: skip
    return Entry(NOW, {case.event_key: case for case in cases}, decisions=[Made(each, 1) for each in decisions])


def hold(journal: CardJournal, *decisions: Decision, amount: float = 100.0) -> dict[DecisionKey, Decision]:
    return journal.hold(entry(*decisions), [Held(each, amount) for each in decisions if each.action != "allow"])


def report(name: str, amount: float = 100.0) -> FraudReported:
    return FraudReported(
        event_id=f"f-{name}", user_id="u", at=NOW, transaction_id=name, card_id="c", terminal_id="t", source="pos",
        amount_usd=amount, made_at=NOW,
    )  # fmt: skip


def tallies(journal: Store) -> dict[str, tuple[int, int, float]]:
    return {each.action: (each.decided, each.reported, each.reported_usd) for each in journal.charge_tallies()}


def test_a_held_transaction_is_there_to_be_asked_for_and_counts_once(journal: CardJournal) -> None:
    first = decision("a")
    assert hold(journal, first, decision("b", "review")) == {}
    later = msgspec.structs.replace(first, at=NOW + timedelta(seconds=1), action="review")
    assert hold(journal, later) == {DecisionKey.of(first): first}
    assert journal.decision(entry(first).cases[DecisionKey("u", "e-a")].key) == first  # type: ignore[index]  # the same tuple
    assert tallies(journal) == {"review": (1, 0, 0.0), "block": (1, 0, 0.0)}
    assert journal.actions() == {"block": 1, "review": 1}


def test_a_report_counts_once_under_what_was_decided(journal: CardJournal) -> None:
    hold(journal, decision("a"), amount=120.0)
    journal.report([report("a"), report("a"), report("missed", 30.0)], NOW)
    journal.report([report("missed", 30.0), report("a")], NOW)
    assert tallies(journal) == {"allow": (0, 1, 30.0), "block": (1, 1, 120.0)}


def test_a_report_before_its_decision_counts_as_one_after_it(journal: CardJournal) -> None:
    journal.report([report("a")], NOW)
    assert tallies(journal) == {"allow": (0, 1, 100.0)}
    hold(journal, decision("a"))
    hold(journal, decision("a"))
    journal.report([report("a")], NOW)
    assert tallies(journal) == {"allow": (0, 0, 0.0), "block": (1, 1, 100.0)}


def test_another_users_report_changes_nothing_of_mine(journal: CardJournal) -> None:
    hold(journal, decision("a"))
    journal.report([msgspec.structs.replace(report("a", 5.0), user_id="somebody-else")], NOW)
    assert tallies(journal) == {"allow": (0, 1, 5.0), "block": (1, 0, 0.0)}


def test_what_is_allowed_is_counted_with_its_offset(journal: CardJournal) -> None:
    journal.settle({1: Count(50, 40), 0: Count(9)})
    journal.settle({1: Count(60, 10)})
    assert journal.counted([0, 1, 2]) == {0: 9, 1: 60}
    assert journal.actions() == {"allow": 50}
    assert journal.charge_tallies() == [ChargeTally("allow", 50, 0, 0.0)]


def test_an_allowed_one_that_is_kept_counts_when_it_is_written(journal: CardJournal) -> None:
    hold(journal, decision("a", "allow"))
    hold(journal, decision("a", "allow"))
    assert tallies(journal) == {"allow": (1, 0, 0.0)}
    assert journal.actions() == {"allow": 1}


def test_what_was_counted_is_kept_and_not_counted_again(journal: CardJournal) -> None:
    journal.settle({1: Count(50, 2)})
    kept = [decision("a", "allow"), decision("b")]
    journal.hold(entry(*kept), [Held(kept[1], 100.0)], {1: Count(60, 3)}, counted=True)
    assert tallies(journal) == {"allow": (5, 0, 0.0), "block": (1, 0, 0.0)}
    assert journal.actions() == {"allow": 5, "block": 1}
    assert journal.counted([1]) == {1: 60}
    assert journal.decision(SubjectKey("u", "a")) == kept[0]


def test_each_worker_pushes_its_own(journal: CardJournal) -> None:
    mine = decision("a")
    hold(journal, mine)
    rides = Journal(journal._engine)
    assert rides.undelivered([1]) == []
    assert [each.decision for each in journal.undelivered([1])] == [mine]
    journal.settle({}, [Mark(DecisionKey.of(mine), 1, 5, published=False)])
    assert rides.unpublished([1], 10) == []
    assert [each.offset for each in journal.unpublished([1], 10)] == [5]


def test_what_is_held_is_remembered_for_as_long_as_it_may_be_disputed(journal: CardJournal) -> None:
    hold(journal, decision("a"))
    journal.settle({}, [Mark(DecisionKey.of(decision("a")), 1, 5, published=True)])
    journal.prune(NOW + timedelta(days=150))
    journal.report([report("a")], NOW + timedelta(days=150))
    assert tallies(journal)["block"] == (1, 1, 100.0)
    journal.prune(NOW + timedelta(days=181))
    with journal.connected() as connection:
        assert connection.execute(text("SELECT count(*) FROM charges")).scalar() == 0


def test_a_store_of_before_the_cards_gets_what_it_lacks(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Journal.open(url).close()
    with create_engine(url).begin() as connection:
        connection.execute(text("ALTER TABLE decisions DROP COLUMN worker"))
        connection.execute(text("DROP TABLE charges"))
    journal = CardJournal.open(url)
    hold(journal, decision("a"))
    assert tallies(journal) == {"block": (1, 0, 0.0)}
    journal.close()
