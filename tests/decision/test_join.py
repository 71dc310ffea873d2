import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from app.decisions import Decision
from app.events import (
    ContentUpdated,
    ContentUploaded,
    Place,
    RideCancelled,
    RideCompleted,
    RidePositioned,
    RideRequested,
)
from app.predictions import Prediction
from app.sql.ledger import Answer, ErrorKey, ErrorSum, Position, Subject, SubjectKey, WeekKey
from decision.join import MOVES, Effects, Join, Sourced
from decision.policy import EXPECTED, judge

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = "2026-W01"
DEADLINES = {"ride": timedelta(seconds=2), "upload": timedelta(seconds=5)}


def join(capacity: int = 100) -> Join:
    return Join(judge, DEADLINES, capacity)  # type: ignore[arg-type]  # the keys are kinds


def requested(ride: str, event_id: str | None = None, user: str = "u1") -> RideRequested:
    place = Place(zone=7)
    return RideRequested(
        event_id=event_id or f"e-{ride}", user_id=user, at=NOW, ride_id=ride, pickup=place, dropoff=place
    )


def uploaded(upload: str, event_id: str | None = None) -> ContentUploaded:
    return ContentUploaded(event_id=event_id or f"e-{upload}", user_id="u1", at=NOW, upload_id=upload, title="t")


def completed(ride: str, minutes: float = 10.0, tip: float | None = None) -> RideCompleted:
    return RideCompleted(
        event_id=f"done-{ride}", user_id="u1", at=NOW, ride_id=ride, duration_min=minutes, fare_usd=20.0, tip_usd=tip
    )


def answered(
    subject: str,
    model: str,
    value: float = 0.1,
    *,
    version: str = "1",
    event_id: str | None = None,
    kind: str = "ride",
    move: int | None = None,
    unit: str = "min",
) -> Prediction:
    return Prediction(
        event_id=event_id or (f"e-{subject}" if move is None else f"p{move}-{subject}"),
        subject_id=subject,
        user_id="u1",
        kind=kind,  # type: ignore[arg-type]  # one of the kinds
        model=model,
        version=version,
        value=value,
        unit=unit,
        topic="rides",
        partition=0,
        offset=0,
        event_at=NOW + timedelta(seconds=move or 0),
        at=NOW,
        latency_ms=1.0,
        stage="initial" if move is None else "correction",
    )


def every(subject: str, kind: str = "ride") -> list[Prediction]:
    return [answered(subject, model, kind=kind) for model in EXPECTED[kind]]  # type: ignore[index]


def sourced(messages: Iterable[object]) -> list[Sourced]:
    return [Sourced(message, Position("t", 0, i, 0)) for i, message in enumerate(messages)]  # type: ignore[arg-type]


def apply(to: Join, *messages: object, now: datetime = NOW) -> Effects:
    return to.apply(sourced(messages), now)


def decided(*effects: Effects) -> list[Decision]:
    return [made.decision for each in effects for made in each.entry.decisions]


def test_a_ride_is_decided_when_the_last_expected_model_answers() -> None:
    it = join()
    assert decided(apply(it, requested("r"), *every("r")[:-1])) == []
    (decision,) = decided(apply(it, every("r")[-1]))
    assert (decision.decision_id, decision.missing, decision.revision) == ("e-r.0", (), 0)
    assert [figure.model for figure in decision.predictions] == list(EXPECTED["ride"])


def test_a_deadline_decides_without_the_missing_and_a_late_answer_revises() -> None:
    it = join()
    apply(it, requested("r"), *every("r")[:-1])
    assert it.next_deadline() == NOW + DEADLINES["ride"]
    assert decided(it.expire(NOW + timedelta(seconds=1.999))) == []
    (first,) = decided(it.expire(NOW + DEADLINES["ride"]))
    assert (first.missing, first.revision, first.at) == (("cancellation",), 0, NOW + DEADLINES["ride"])
    assert it.next_deadline() is None
    (second,) = decided(apply(it, every("r")[-1]))
    assert (second.decision_id, second.missing) == ("e-r.1", ())


def test_a_decided_case_has_no_deadline_left() -> None:
    it = join()
    apply(it, requested("r"), *every("r"))
    assert decided(it.expire(NOW + timedelta(hours=1))) == []


def test_a_duplicate_is_passed_on_flagged_and_decides_nothing() -> None:
    it = join()
    apply(it, requested("r"), *every("r"))
    effects = apply(it, requested("r"), *every("r"))
    assert not effects.entry
    assert [again for _, again in effects.figures] == [True] * 5


def test_an_unknown_models_figure_is_passed_on_and_not_waited_for() -> None:
    it = join()
    apply(it, requested("r"), *every("r")[:-1])
    effects = apply(it, answered("r", "horoscope"))
    assert [prediction.model for prediction, _ in effects.figures] == ["horoscope"]
    assert decided(effects) == []
    assert decided(apply(it, every("r")[-1], answered("r", "tarot")))[0].revision == 0


def test_what_somebody_asked_for_is_kept_and_decides_nothing() -> None:
    """Not even where it bears the event's own id: the answer to a harmless text must not pass for one to another."""
    joined = join()
    asked = [structs.replace(each, via="ask") for each in every("r1")]
    before = apply(joined, *asked)
    assert (len(before.entry.answers), before.figures, len(joined)) == (len(asked), [], 0)
    opened = apply(joined, requested("r1"))
    assert decided(opened) == []
    assert joined.unknown(sourced(asked)) == set()
    assert len(decided(apply(joined, *every("r1")))) == 1


def test_what_was_asked_for_is_not_restored_as_an_answer() -> None:
    joined, asked = join(), [Answer(structs.replace(each, via="ask"), 0, 0) for each in every("r1")]
    joined.restore([Subject(SubjectKey("u1", "r1"), answers=asked)], NOW)
    assert decided(apply(joined, requested("r1"))) == []


def test_another_version_of_a_model_that_answered_changes_no_decision() -> None:
    it = join()
    apply(it, requested("r"), *every("r"))
    effects = apply(it, answered("r", "eta", 99.0, version="2"))
    assert decided(effects) == []
    assert len(effects.entry.answers) == 1


def test_a_correction_is_passed_on_and_decides_nothing() -> None:
    it = join()
    apply(it, requested("r"), *every("r"))
    effects = apply(it, answered("r", "duration", 12.0, move=1))
    assert effects.figures[0][0].value == 12.0
    assert (decided(effects), len(effects.entry.answers)) == ([], 1)


def test_an_update_is_a_case_of_its_own() -> None:
    it = join()
    update = ContentUpdated(event_id="e2", user_id="u1", at=NOW, upload_id="v", title="t2")
    again = [answered("v", model, kind="upload", event_id="e2") for model in EXPECTED["upload"]]
    effects = apply(it, uploaded("v"), *every("v", "upload"), update, *again)
    assert [decision.decision_id for decision in decided(effects)] == ["e-v.0", "e2.0"]


def test_another_users_ride_of_the_same_id_is_another_subject() -> None:
    it = join()
    apply(it, requested("r", "mine"), requested("r", "theirs", user="u2"))
    effects = apply(it, *[answered("r", model, event_id="theirs") for model in EXPECTED["ride"]])
    assert decided(effects) == []


@pytest.mark.parametrize("truth_first", [True, False])
def test_errors_count_the_first_answer_and_the_last_correction(truth_first: bool) -> None:
    answers = [
        answered("r", "duration", 14.0),
        answered("r", "duration", 13.0, move=1),
        answered("r", "duration", 11.0, move=2),
        answered("r", "cost", 18.0, unit="usd"),
        answered("r", "tip", 3.0, unit="usd"),
    ]
    it, truth = join(), completed("r", minutes=10.0)
    effects = apply(it, *([truth, *answers] if truth_first else [*answers, truth]))
    assert effects.entry.truths == [truth]
    assert effects.entry.errors == {
        WeekKey(ErrorKey("duration", "1", "initial", "min"), WEEK): ErrorSum(1, 4.0, 4.0, 16.0),
        WeekKey(ErrorKey("duration", "1", "correction", "min"), WEEK): ErrorSum(1, 1.0, 1.0, 1.0),
        WeekKey(ErrorKey("cost", "1", "initial", "usd"), WEEK): ErrorSum(1, -2.0, 2.0, 4.0),
    }


def test_a_correction_of_the_next_week_takes_the_former_one_out_of_its_own() -> None:
    it, days = join(), timedelta(days=4)  # from Thursday to Monday
    before, after = (answered("r", "duration", 12.0, move=move) for move in (1, 2))
    after = structs.replace(after, event_at=after.event_at + days)
    errors = apply(it, completed("r", minutes=10.0), before, after).entry.errors
    assert {key.week: total.n for key, total in errors.items()} == {WEEK: 0, "2026-W02": 1}


def test_a_cancelled_ride_measures_only_the_cancellation() -> None:
    truth = RideCancelled(event_id="c", user_id="u1", at=NOW, ride_id="r")
    effects = apply(join(), *every("r"), truth, truth)
    assert list(effects.entry.errors.values()) == [ErrorSum(1, -0.9, 0.9, pytest.approx(0.81))]


def test_memory_is_bounded_and_never_gives_up_a_waiting_subject() -> None:
    it = join(capacity=10)
    for i in range(50):
        apply(it, requested(f"r{i}"), *every(f"r{i}"))
    apply(it, requested("waits"))
    for i in range(50, 100):
        apply(it, requested(f"r{i}"), *every(f"r{i}"))
    assert len(it) <= 11
    assert not it.unknown(sourced([requested("waits")]))
    moves = [answered("waits", "duration", float(i), move=i) for i in range(4 * MOVES)]
    apply(it, *moves)
    assert apply(it, moves[-1]).figures[0][1]
    assert not apply(it, moves[0]).figures[0][1]


def test_a_restored_subject_waits_its_full_time_again() -> None:
    it = join()
    case = apply(join(), requested("r")).entry.cases["u1", "e-r"]
    later = NOW + timedelta(minutes=5)
    it.restore([Subject(case.key, [case], [Answer(answer, 0, 0) for answer in every("r")[:-1]])], later)
    assert decided(it.expire(later)) == []
    (decision,) = decided(apply(it, every("r")[-1], now=later))
    assert decision.decision_id == "e-r.0"


MESSAGES: list[object] = [
    *(requested(f"r{i}") for i in range(3)),
    uploaded("v"),
    *(answer for i in range(3) for answer in every(f"r{i}")),
    *every("v", "upload"),
    *(answered("r0", "duration", 5.0 + move, move=move) for move in range(1, 4)),
    completed("r0", tip=2.0),
    completed("r1"),
]


def final(effects: Sequence[Effects]) -> tuple[object, ...]:
    """What the world ends up with: decisions by id, what is written down, the error sums."""
    errors: dict[WeekKey, ErrorSum] = {}
    for each in effects:
        for key, total in each.entry.errors.items():
            kept = errors.setdefault(key, ErrorSum())
            kept.n, kept.signed = kept.n + total.n, round(kept.signed + total.signed, 9)
            kept.absolute, kept.squared = (
                round(kept.absolute + total.absolute, 9),
                round(kept.squared + total.squared, 9),
            )
    decisions = decided(*effects)
    assert len({decision.decision_id for decision in decisions}) == len(decisions)
    answers = {answer.prediction for each in effects for answer in each.entry.answers}
    return {decision.decision_id: decision for decision in decisions}, answers, {k: e for k, e in errors.items() if e.n}


@given(st.randoms(use_true_random=False), st.integers(0, 20), st.integers(1, 8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_neither_order_nor_duplicates_nor_batching_matter(rng: random.Random, doubled: int, batches: int) -> None:
    expected = final([apply(join(), *MESSAGES)])
    messages = [*MESSAGES, *rng.choices(MESSAGES, k=doubled)]
    rng.shuffle(messages)
    it = join()
    cuts = sorted(rng.randrange(len(messages) + 1) for _ in range(batches - 1))
    parts = [messages[a:b] for a, b in zip([0, *cuts], [*cuts, len(messages)], strict=True)]
    assert final([apply(it, *part) for part in parts]) == expected


class Memory:
    """A store in memory: what was saved is all that a restarted join has."""

    def __init__(self) -> None:
        self.subjects: dict[SubjectKey, Subject] = {}
        self.effects: list[Effects] = []

    def save(self, effects: Effects) -> None:
        self.effects.append(effects)
        for case in effects.entry.cases.values():
            kept = self._subject(case.key)
            kept.cases = [*(c for c in kept.cases if c.event_id != case.event_id), _copy(case)]
        for answer in effects.entry.answers:
            self._subject(SubjectKey(answer.prediction.user_id, answer.prediction.subject_id)).answers.append(answer)
        for truth in effects.entry.truths:
            self._subject(SubjectKey(truth.user_id, truth.subject_id)).truth = truth

    def load(self, keys: Iterable[SubjectKey]) -> list[Subject]:
        return [
            Subject(key, [_copy(case) for case in kept.cases], list(kept.answers), kept.truth)
            for key in keys
            for kept in [self._subject(key)]
        ]

    def _subject(self, key: SubjectKey) -> Subject:
        return self.subjects.setdefault(key, Subject(key))


def _copy(case: object) -> object:
    import copy

    return copy.copy(case)


@given(st.randoms(use_true_random=False), st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_crash_at_any_point_changes_nothing(rng: random.Random, crashes: int, capacity: int) -> None:
    """The worker dies before or after a batch is written down; what was not committed is delivered again."""
    expected = final([apply(join(), *MESSAGES)])
    messages = list(MESSAGES)
    rng.shuffle(messages)
    memory, it, committed, at = Memory(), join(capacity), 0, 0
    while at < len(messages):
        size = rng.randrange(1, 9)
        batch = sourced(messages[at : at + size])
        it.restore(memory.load(it.unknown(batch)), NOW)
        effects = it.apply(batch, NOW)
        died = crashes > 0 and rng.random() < 0.5
        if not died or rng.random() < 0.5:
            memory.save(effects)
        if died:
            crashes, it, at = crashes - 1, join(capacity), committed
            continue
        at += size
        committed = at if rng.random() < 0.5 else committed
    assert final(memory.effects) == expected


@given(st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_opening_is_decided_exactly_once_at_revision_0(rng: random.Random) -> None:
    """Whoever answers, and whenever: the final figures are the same, and revisions count up without a hole."""
    it, now, seen = join(), NOW, []
    messages = [message for message in MESSAGES if rng.random() < 0.8]
    rng.shuffle(messages)
    for message in messages:
        now += timedelta(seconds=rng.choice([0, 0, 0.5, 3]))
        seen += [it.expire(now), apply(it, message, now=now)]
    seen.append(it.expire(now + timedelta(minutes=1)))
    opened = {m.event_id for m in messages if isinstance(m, RideRequested | ContentUploaded)}
    by_event: dict[str, list[Decision]] = {event_id: [] for event_id in opened}
    for decision in decided(*seen):
        by_event[decision.event_id].append(decision)
    for event_id, decisions in by_event.items():
        assert [decision.revision for decision in decisions] == list(range(len(decisions)))
        answered_by = {m.model for m in messages if isinstance(m, Prediction) and m.event_id == event_id}
        assert {figure.model for figure in decisions[-1].predictions} == answered_by


def test_a_position_alone_concerns_nobody_here() -> None:
    moved = RidePositioned(event_id="p", user_id="u1", at=NOW, ride_id="r", lat=0, lon=0)
    effects = apply(join(), moved)
    assert not effects.entry
    assert effects.figures == []
