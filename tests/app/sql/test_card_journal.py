"""What is written down of card transactions: each counts once, whatever comes twice or in another order."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import text

from app import codec
from app.decisions import Action, Decision, Figure
from app.events import FraudReported
from app.predictions import Prediction
from app.sql.card_journal import CardJournal
from app.sql.card_ledger import Count, Kept, Pending
from app.sql.journal import Journal, Unpushed
from app.sql.ledger import ChargeTally, DecisionKey, Entry, Made, Mark, SubjectKey, iso_week
from app.store import Store
from app.testing import START as NOW
from app.topics import CARD_PREDICTIONS, DECISIONS

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Book(CardJournal, Store):
    """Both sides of the store."""


@pytest.fixture
def journal(database: str) -> Iterator[Book]:
    with closing(Book.open(database)) as journal:
        yield journal


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


def kept(made: Decision, amount: float = 100.0) -> Kept:
    said = Prediction(
        event_id=made.event_id, subject_id=made.subject_id, user_id=made.user_id, kind="transaction", model="fraud",
        version="1", value=0.9, unit="probability", topic="transactions.pos", partition=1, offset=7, event_at=NOW, at=NOW,
        latency_ms=12.5,
    )  # fmt: skip
    return Kept(made, codec.encode(made), said, amount, 1, 40, TRACE)


def keep(journal: Book, *decisions: Decision, amount: float = 100.0) -> dict[DecisionKey, Decision]:
    return journal.keep([kept(each, amount) for each in decisions], NOW)


def mark(journal: Book, *marks: Mark) -> None:
    journal.settle(Pending(marks=marks), NOW)


def report(name: str, amount: float = 100.0) -> FraudReported:
    return FraudReported(
        event_id=f"f-{name}", user_id="u", at=NOW, transaction_id=name, card_id="c", terminal_id="t", source="pos",
        amount_usd=amount, made_at=NOW,
    )  # fmt: skip


def tallies(journal: Store) -> dict[str, tuple[int, int, float]]:
    return {each.action: (each.decided, each.reported, each.reported_usd) for each in journal.charge_tallies()}


def test_a_held_transaction_is_there_to_be_asked_for_and_counts_once(journal: Book) -> None:
    first = decision("a")
    assert keep(journal, first, decision("b", "review")) == {}
    later = msgspec.structs.replace(first, at=NOW + timedelta(seconds=1), action="review")
    assert keep(journal, later) == {DecisionKey.of(first): first}
    assert journal.decision(SubjectKey("u", "a")) == first
    assert journal.decision(SubjectKey("somebody-else", "a")) is None
    assert tallies(journal) == {"review": (1, 0, 0.0), "block": (1, 0, 0.0)}
    assert journal.actions() == {"block": 1, "review": 1}


def test_a_report_counts_once_under_what_was_decided(journal: Book) -> None:
    keep(journal, decision("a"), amount=120.0)
    journal.settle(Pending(reports=[report("a"), report("a"), report("missed", 30.0)]), NOW)
    journal.settle(Pending(reports=[report("missed", 30.0), report("a")]), NOW)
    assert tallies(journal) == {"allow": (0, 1, 30.0), "block": (1, 1, 120.0)}


def test_a_report_before_its_decision_counts_as_one_after_it(journal: Book) -> None:
    journal.settle(Pending(reports=[report("a")]), NOW)
    assert tallies(journal) == {"allow": (0, 1, 100.0)}
    keep(journal, decision("a"))
    keep(journal, decision("a"))
    journal.settle(Pending(reports=[report("a")]), NOW)
    assert tallies(journal) == {"allow": (0, 0, 0.0), "block": (1, 1, 100.0)}


def test_what_was_held_and_reported_is_tallied_by_the_week_of_the_transaction(journal: Book) -> None:
    last, this = NOW - timedelta(days=7), NOW
    made = [
        msgspec.structs.replace(decision(name), event_at=at) for name, at in (("a", last), ("b", this), ("c", this))
    ]
    keep(journal, *made, decision("d", "review"), decision("kept", "allow"), amount=50.0)
    keep(journal, *made)
    told = [msgspec.structs.replace(report(name), made_at=at) for name, at in (("a", last), ("b", this))]
    before = msgspec.structs.replace(report("late", 50.0), made_at=last)
    journal.settle(Pending({1: Count(9, 4)}, reports=[*told, before, report("missed", 30.0)]), NOW + timedelta(days=7))
    keep(journal, msgspec.structs.replace(decision("late", "review"), event_at=last), amount=50.0)
    assert journal.weekly_charges() == {
        iso_week(last): [
            ChargeTally("allow", 0, 0, 0.0),
            ChargeTally("review", 1, 1, 50.0),
            ChargeTally("block", 1, 1, 50.0),
        ],
        iso_week(this): [
            ChargeTally("allow", 0, 1, 30.0),
            ChargeTally("review", 1, 0, 0.0),
            ChargeTally("block", 2, 1, 50.0),
        ],
    }


def test_another_users_report_changes_nothing_of_mine(journal: Book) -> None:
    keep(journal, decision("a"))
    journal.settle(Pending(reports=[msgspec.structs.replace(report("a", 5.0), user_id="somebody-else")]), NOW)
    assert tallies(journal) == {"allow": (0, 1, 5.0), "block": (1, 0, 0.0)}


def test_what_is_allowed_is_counted_with_its_offset(journal: Book) -> None:
    journal.settle(Pending({1: Count(50, 40), 0: Count(9)}), NOW)
    journal.settle(Pending({1: Count(60, 10, since=50)}), NOW)
    assert journal.counted([0, 1, 2]) == {0: 9, 1: 60}
    assert journal.actions() == {"allow": 50}
    assert journal.charge_tallies() == [ChargeTally("allow", 50, 0, 0.0)]


def test_an_allowed_one_that_is_kept_counts_when_it_is_written(journal: Book) -> None:
    keep(journal, decision("a", "allow"))
    keep(journal, decision("a", "allow"))
    assert tallies(journal) == {"allow": (1, 0, 0.0)}
    assert journal.actions() == {"allow": 1}


def test_what_was_counted_is_kept_and_not_counted_again(journal: Book) -> None:
    journal.settle(Pending({1: Count(50, 2)}), NOW)
    allowed, held = decision("a", "allow"), decision("b")
    journal.keep([kept(allowed), kept(held)], NOW, Pending({1: Count(60, 3, since=50)}), counted=True)
    assert tallies(journal) == {"allow": (5, 0, 0.0), "block": (1, 0, 0.0)}
    assert journal.actions() == {"allow": 5, "block": 1}
    assert journal.counted([1]) == {1: 60}
    assert journal.decision(SubjectKey("u", "a")) == allowed


def test_what_was_not_told_waits_and_what_was_never_pushed_comes_again_by_itself(journal: Book) -> None:
    untold, told, never = decision("a"), decision("b", "review"), decision("c")
    keep(journal, untold, told, never)
    assert journal.unpublished([1], 10) == []
    mark(journal, Mark(DecisionKey.of(untold), 1, 5, published=False))
    mark(journal, Mark(DecisionKey.of(told), 1, 6, published=True))
    assert journal.unpublished([1], 10) == [Unpushed(untold, TRACE, 1, 5)]
    assert journal.unpublished([0, 2], 10) == []
    rides = Journal(journal.engine)
    assert (rides.undelivered([1]), rides.unpublished([1], 10)) == ([], [])
    mark(journal, *(each.published() for each in journal.unpublished([1], 10)))
    assert journal.unpublished([1], 10) == []


def test_what_the_store_knows_of_a_kept_transaction(journal: Book) -> None:
    made = decision("a")
    keep(journal, made)
    mark(journal, Mark(DecisionKey.of(made), 1, 5, published=True))
    subject = SubjectKey("u", "a")
    assert journal.predictions(subject) == [kept(made).prediction]
    receipt = journal.receipt(subject)
    assert receipt is not None
    assert receipt["kind"] == "transaction"
    (opening,), (answer,), (decided,) = receipt["openings"], receipt["predictions"], receipt["decisions"]  # type: ignore[misc]  # lists
    assert opening["position"] == {"topic": "transactions.pos", "partition": 1, "offset": 7}
    assert opening["logged_at"] == NOW - timedelta(milliseconds=12)
    assert (opening["event_id"], opening["seen_at"]) == ("e-a", NOW)
    assert answer["position"] == {"topic": CARD_PREDICTIONS.name, "partition": 1, "offset": 40}
    assert decided["position"] == {"topic": DECISIONS.name, "partition": 1, "offset": 5}
    assert (decided["action"], decided["published"]) == ("block", True)


def test_a_user_sees_the_latest_of_rides_and_transactions(journal: Book) -> None:
    made = [msgspec.structs.replace(decision(name), at=NOW + timedelta(seconds=n)) for n, name in enumerate("abcd")]
    ride = msgspec.structs.replace(made[3], kind="ride", action="quote")
    journal.save(Entry(NOW, decisions=[Made(ride, 1)]))
    keep(journal, *made[:3])
    assert journal.snapshot("u") == [ride, made[2], made[1], made[0]]
    assert journal.snapshot("u", limit=2) == [ride, made[2]]
    assert journal.snapshot("somebody-else") == []


def test_what_is_held_is_remembered_for_as_long_as_it_may_be_disputed(journal: Book) -> None:
    keep(journal, decision("a"))
    mark(journal, Mark(DecisionKey.of(decision("a")), 1, 5, published=True))
    journal.prune(NOW + timedelta(days=150))
    journal.settle(Pending(reports=[report("a")]), NOW + timedelta(days=150))
    assert tallies(journal)["block"] == (1, 1, 100.0)
    journal.prune(NOW + timedelta(days=181))
    with journal.connected() as connection:
        assert connection.execute(text("SELECT count(*) FROM charges")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM card_decisions")).scalar() == 0
