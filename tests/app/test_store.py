"""The store, on SQLite and on PostgreSQL alike."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine, text

from app.decisions import Decision, Figure
from app.errors import ConfigurationError, MillraceError, ServiceUnavailable
from app.events import RideCompleted
from app.predictions import Prediction
from app.sql.journal import Journal, Unpushed
from app.sql.ledger import (
    UNDECIDED,
    Answer,
    Case,
    DecisionKey,
    Entry,
    ErrorKey,
    ErrorSum,
    Made,
    Mark,
    Position,
    SubjectKey,
    WeekKey,
)
from app.store import Store

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
R = SubjectKey("u1", "r")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Book(Journal, Store):
    """Both sides of the store."""


@pytest.fixture
def journal(database: str) -> Iterator[Book]:
    with closing(Book.open(database)) as journal:
        yield journal


def case(subject: str, n: int = 0, user: str = "u1", revision: int = 0) -> Case:
    return Case(
        event_id=f"{user}-{subject}-{n}",
        subject_id=subject,
        user_id=user,
        kind="ride",
        event_at=NOW + timedelta(minutes=n),
        position=Position("rides", 1, 10 + n, 1_767_268_800_123),
        seen_at=NOW + timedelta(minutes=n, seconds=int(user[1:])),
        traceparent=TRACE,
        revision=revision,
    )


def decision(case: Case, revision: int = 0, at: datetime = NOW) -> Decision:
    return Decision(
        decision_id=f"{case.event_id}.{revision}",
        subject_id=case.subject_id,
        user_id=case.user_id,
        kind="ride",
        event_id=case.event_id,
        event_at=case.event_at,
        at=at,
        action="quote",
        reasons=("about 14 min",),
        predictions=(Figure(model="eta", version="1", value=0.1 + 0.2, unit="min", detail={"track": [[1.5, 2]]}),),
        revision=revision,
    )


def answer(case: Case, model: str = "eta", value: float = 0.1 + 0.2) -> Answer:
    at = datetime(2026, 1, 1, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    prediction = Prediction(
        event_id=case.event_id,
        subject_id=case.subject_id,
        user_id=case.user_id,
        kind="ride",
        model=model,
        version="1",
        value=value,
        unit="min",
        topic="rides",
        partition=1,
        offset=10,
        event_at=at,
        at=at,
        latency_ms=3.5,
        detail={"p": [0.25]},
    )
    return Answer(prediction, 1, 77)


def truth(case: Case) -> RideCompleted:
    return RideCompleted(
        event_id="t", user_id=case.user_id, at=NOW, ride_id=case.subject_id, duration_min=10.0, fare_usd=20.0
    )


def entry(*decisions: Decision, cases: tuple[Case, ...] = (), at: datetime = NOW) -> Entry:
    return Entry(
        at, cases={each.event_key: each for each in cases}, decisions=[Made(each, 1, TRACE) for each in decisions]
    )


def mark(decision: Decision, *, published: bool = True) -> Mark:
    return Mark(DecisionKey.of(decision), 1, 500, published)


def test_what_is_saved_comes_back_bit_for_bit(journal: Book) -> None:
    ride = case("r", revision=UNDECIDED)
    journal.save(Entry(NOW, {ride.event_key: ride}, [answer(ride)], [], [truth(ride)]))
    (subject,) = journal.load([ride.key])
    assert (subject.cases, subject.answers, subject.truth) == ([ride], [answer(ride)], truth(ride))
    assert journal.predictions(R) == [answer(ride).prediction]
    assert msgspec.json.encode(journal.predictions(R)[0]) == msgspec.json.encode(answer(ride).prediction)


def test_a_subject_never_seen_is_empty(journal: Book) -> None:
    key = SubjectKey("u1", "nobody")
    assert [(each.key, each.cases) for each in journal.load([key])] == [(key, [])]
    assert journal.decision(key) is None
    assert journal.receipt(key) is None
    assert journal.predictions(key) == []


def test_many_subjects_load_at_once(journal: Book) -> None:
    cases = [case(f"r{i}") for i in range(2500)]
    journal.save(entry(cases=tuple(cases)))
    assert [len(each.cases) for each in journal.load([each.key for each in cases])] == [1] * 2500


def test_saving_twice_changes_nothing_but_the_revision(journal: Book) -> None:
    ride = case("r", revision=UNDECIDED)
    first = decision(ride)
    journal.save(Entry(NOW, {ride.event_key: ride}, [answer(ride)], [Made(first, 1)], [truth(ride)]))
    journal.save(entry(cases=(case("r", revision=1),)))
    journal.save(Entry(NOW, {}, [answer(ride, value=9.0)], [Made(msgspec.structs.replace(first, action="confirm"), 1)]))
    assert journal.decision(R) == first
    assert journal.predictions(R)[0].value == 0.1 + 0.2
    assert journal.load([ride.key])[0].cases[0].revision == 1


def test_the_decision_is_the_last_revision_of_the_last_opening(journal: Book) -> None:
    old, new = case("v", 0), case("v", 1)
    late = decision(old, 1, at=NOW + timedelta(hours=1))
    journal.save(entry(decision(old), decision(new), late, cases=(old, new)))
    assert journal.decision(old.key) == decision(new)
    assert journal.snapshot("u1") == [decision(new)]


def test_the_same_ids_of_two_users_are_two_of_everything(journal: Book) -> None:
    mine = case("r", revision=UNDECIDED)
    theirs = msgspec.structs.replace(mine, user_id="u2", position=Position("rides", 2, 99, 1_767_268_800_123))
    made = [decision(each) for each in (mine, theirs)]
    for user, each in zip((mine, theirs), made, strict=True):
        journal.save(Entry(NOW, {user.event_key: user}, [answer(user)], [Made(each, 1)]))
    assert journal.load([mine.key])[0].cases == [mine]
    assert journal.load([theirs.key])[0].cases == [theirs]
    assert [journal.decision(each.key) for each in (mine, theirs)] == made
    assert [journal.snapshot(each.user_id) for each in (mine, theirs)] == [[each] for each in made]
    for each in (mine, theirs):
        assert journal.predictions(each.key) == [answer(each).prediction]
        receipt = journal.receipt(each.key)
        assert receipt is not None
        assert (receipt["user_id"], receipt["openings"][0]["position"]["offset"]) == (  # type: ignore[index]  # untyped JSON
            each.user_id,
            each.position.offset,
        )


def test_the_same_ids_of_two_users_in_one_transaction(journal: Book) -> None:
    mine = case("r")
    theirs = msgspec.structs.replace(mine, user_id="u2")
    whole = entry(decision(mine), cases=(mine,))
    whole.merge(entry(decision(theirs), cases=(theirs,)))
    assert journal.save(whole) == {}
    journal.save(Entry(NOW), [mark(decision(mine))])
    assert [each.decision for each in journal.undelivered([1])] == [decision(theirs)]
    assert journal.save(entry(decision(theirs))) == {DecisionKey.of(decision(theirs)): decision(theirs)}


def test_a_snapshot_is_the_newest_first_and_limited(journal: Book) -> None:
    made = [decision(case(f"r{i}"), at=NOW + timedelta(seconds=i)) for i in range(5)]
    journal.save(entry(*made))
    assert journal.snapshot("u1", limit=3) == made[:1:-1]
    assert journal.snapshot("nobody") == []


def test_the_outbox_empties_as_decisions_are_pushed(journal: Book) -> None:
    first, second = decision(case("r1")), decision(case("r2"), at=NOW + timedelta(seconds=1))
    journal.save(entry(first, second))
    assert [each.decision for each in journal.undelivered([1])] == [first, second]
    assert journal.undelivered([0]) == []
    journal.save(Entry(NOW), [mark(first), mark(second, published=False)])
    assert journal.undelivered([1]) == []
    assert journal.unpublished([1], 10) == [Unpushed(second, TRACE, 1, 500)]
    journal.save(Entry(NOW), [mark(second)])
    assert journal.unpublished([1], 10) == []


def test_undecided_subjects_are_found_by_partition(journal: Book) -> None:
    waits = case("r1", revision=UNDECIDED)
    journal.save(entry(cases=(waits, case("r2"))))
    assert journal.undecided([0, 1]) == [waits.key]
    assert journal.undecided([0]) == []


def test_live_errors_add_up(journal: Book) -> None:
    eta_key, risk_key = ErrorKey("eta", "1", "initial", "min"), ErrorKey("cancellation", "2", "initial", "probability")
    old, new, risk = WeekKey(eta_key, "2025-W52"), WeekKey(eta_key, "2026-W01"), WeekKey(risk_key, "2026-W01")
    journal.save(Entry(NOW, errors={new: ErrorSum(1, 2.0, 2.0, 4.0), risk: ErrorSum(1, -0.5, 0.5, 0.25)}))
    journal.save(Entry(NOW, errors={new: ErrorSum(1, 1.0, 1.0, 5.0), old: ErrorSum(1, 3.0, 3.0, 1.0)}))
    cancellation, eta = journal.live_errors()
    assert (eta.n, eta.mae, eta.bias, eta.brier) == (3, 2.0, 2.0, None)
    assert eta.rmse == pytest.approx((10 / 3) ** 0.5)
    assert cancellation.brier == 0.25
    weekly = [(error.week, error.model, error.n, error.mae) for error in journal.weekly_errors()]
    assert weekly == [("2025-W52", "eta", 1, 3.0), ("2026-W01", "cancellation", 1, 0.5), ("2026-W01", "eta", 2, 1.5)]


def test_live_errors_taken_back_leave_nothing(journal: Book) -> None:
    key = WeekKey(ErrorKey("duration", "1", "correction", "min"), "2026-W01")
    journal.save(Entry(NOW, errors={key: ErrorSum(1, 3.0, 3.0, 9.0)}))
    journal.save(Entry(NOW, errors={key: ErrorSum(-1, -3.0, -3.0, -9.0)}))
    assert journal.live_errors() == []
    assert journal.weekly_errors() == []


def test_decisions_are_counted_once_each_by_action_and_stay_counted(journal: Book) -> None:
    asked = case("r")
    first, second = decision(asked), msgspec.structs.replace(decision(asked, 1), action="confirm")
    journal.save(entry(first, decision(case("r2")), cases=(asked,)))
    journal.save(entry(first, second))
    journal.save(entry(first, second))
    assert journal.actions() == {"quote": 2, "confirm": 1}
    journal.save(Entry(NOW), [mark(first), mark(second)])
    assert journal.prune(NOW + timedelta(hours=1)) == 3
    assert journal.actions() == {"quote": 2, "confirm": 1}


def test_a_receipt_says_where_everything_lies(journal: Book) -> None:
    ride = case("r")
    made = decision(ride)
    journal.save(Entry(NOW, {ride.event_key: ride}, [answer(ride)], [Made(made, 1)]))
    journal.save(Entry(NOW), [mark(made)])
    receipt = journal.receipt(R)
    assert receipt is not None
    (opening,), (given,), (decided,) = receipt["openings"], receipt["predictions"], receipt["decisions"]
    assert opening["position"] == {"topic": "rides", "partition": 1, "offset": 10}
    assert opening["logged_at"] == datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=UTC)
    assert given["position"] == {"topic": "predictions", "partition": 1, "offset": 77}
    assert (given["model"], given["latency_ms"]) == ("eta", 3.5)
    assert (decided["decision_id"], decided["position"]["offset"], decided["published"]) == (
        made.decision_id,
        500,
        True,
    )
    assert msgspec.json.encode(receipt)


def test_an_outcome_that_came_on_two_partitions_at_once_is_kept(journal: Book) -> None:
    """Somebody's producer may hash keys otherwise; that must not stop the worker again and again."""
    ride = case("ride")
    journal.save(replace(entry(), truths=[truth(ride), truth(ride)]))
    [subject] = journal.load([ride.key])
    assert subject.truth == truth(ride)
    with pytest.raises(MillraceError, match="begin anew"):
        journal.save(replace(entry(), truths=[truth(ride)]))


def test_pruning_spares_the_young_and_what_still_waits(journal: Book) -> None:
    old, waits, young = case("old"), case("waits", revision=UNDECIDED), case("young", 600)
    gone, unpushed = decision(old), decision(case("unpushed"))
    journal.save(
        Entry(NOW, {c.event_key: c for c in (old, waits, young)}, [answer(old)], [Made(gone, 1), Made(unpushed, 1)])
    )
    journal.save(replace(entry(), truths=[truth(old)]), [mark(gone)])
    assert journal.prune(NOW + timedelta(hours=1), limit=1) == 4
    assert journal.prune(NOW + timedelta(hours=1)) == 0
    assert [len(each.cases) for each in journal.load([old.key, waits.key, young.key])] == [0, 1, 1]
    assert [each.decision for each in journal.undelivered([1])] == [unpushed]


def _open(url: str) -> str:
    """What went wrong."""
    try:
        Store.open(url).close()
    except MillraceError as error:
        return str(error)
    return ""


def test_several_processes_may_create_it_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as pool:
        for turn in range(8):
            assert set(pool.map(_open, [f"sqlite:///{tmp_path / str(turn)}.db"] * 16)) == {""}


def test_a_database_of_another_version_is_an_error_at_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with create_engine(url).begin() as connection:
        connection.execute(text("CREATE TABLE cases (event_id VARCHAR(64) PRIMARY KEY, user_id VARCHAR(64))"))
    with pytest.raises(ConfigurationError, match="another version"):
        Store.open(url)


@pytest.mark.parametrize("url", ["nonsense", "oracle+wrong://x", "sqlite+nothing:///x"])
def test_a_url_nobody_understands_is_an_error_at_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MILLRACE_DATABASE"):
        Store.open(url)


def test_a_database_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"this is no database" * 100)
    with pytest.raises(ServiceUnavailable) as caught:
        Store.open(f"sqlite:///{tmp_path / 'file'}")
    assert caught.value.part == "database"
