"""The join: events and predictions of one partition, brought together by subject. Pure: no I/O, the clock is passed in.

`decision.desk` feeds it and writes its effects down before anybody hears of them, so what is held here is only a cache
of the store: a subject that is not held is read back (`unknown`, `restore`) before it is touched.

A case is one opening event. It is decided when every expected model has answered, or at its deadline; an expected
answer that comes later yields a revision.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from app.decisions import Decision, Figure
from app.events import OPENING, Event, Kind, RideCancelled, RideCompleted, RideEvent, UploadEvent
from app.predictions import Prediction
from app.sql.ledger import UNDECIDED, Answer, Case, Entry, Made, Position, Subject, SubjectKey, Truth
from decision.policy import EXPECTED, Verdict
from decision.truth import Said, count, said

CAPACITY = 5000
"""Decided subjects held per partition, the least recently touched given up first: some 3 KB each."""

MOVES = 256
"""Corrections remembered per subject to know a duplicate by; the cars report every few seconds, without end."""


class Sourced(NamedTuple):
    """A message, where it lies, and the trace it belongs to."""

    message: Event | Prediction
    position: Position
    traceparent: str | None = None


@dataclass
class Effects:
    """What follows from a batch.

    Attributes:
        entry: to be written down first.
        figures: predictions to be passed on as they came; true marks one that was had before.
    """

    entry: Entry
    figures: list[tuple[Prediction, bool]] = field(default_factory=list)


AnswerId = tuple[str, str, str]
"""(event_id, model, version)"""


class _Held:
    """One subject, as far as the join needs it."""

    __slots__ = ("answers", "cases", "corrections", "latest", "truth")

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.answers: dict[AnswerId, Said] = {}
        self.corrections: dict[AnswerId, None] = {}
        self.latest: dict[tuple[str, str], Said] = {}
        self.truth: Truth | None = None

    @property
    def waiting(self) -> bool:
        return any(case.revision == UNDECIDED for case in self.cases.values())

    def knows(self, answer: AnswerId) -> bool:
        return answer in self.answers or answer in self.corrections

    def remember(self, answer: AnswerId, given: Said) -> None:
        if given.stage == "initial":
            self.answers[answer] = given
            return
        self.corrections[answer] = None
        if len(self.corrections) > MOVES:
            del self.corrections[next(iter(self.corrections))]
        latest = self.latest.get(answer[1:])
        if latest is None or given.order > latest.order:
            self.latest[answer[1:]] = given

    def lacks(self, case: Case, model: str) -> bool:
        """Whether the model is expected, and has not answered."""
        answered = ((event_id, by) for event_id, by, _ in self.answers)
        return model in EXPECTED[case.kind] and (case.event_id, model) not in answered

    def figures(self, case: Case) -> dict[str, Figure]:
        """The figures a decision rests on: of each expected model the first answer, in the order of the policy."""
        first: dict[str, Figure] = {}
        for (event_id, model, _), given in self.answers.items():
            if event_id == case.event_id:
                first.setdefault(model, given.figure)
        return {model: first[model] for model in EXPECTED[case.kind] if model in first}


class Join:
    """One partition's open subjects.

    Args:
        judge: the policy: a kind and the figures by model name -> verdict.
        deadlines: how long each kind of subject waits for its models.
    """

    def __init__(
        self,
        judge: Callable[[Kind, Mapping[str, Figure]], Verdict],
        deadlines: Mapping[Kind, timedelta],
        capacity: int = CAPACITY,
    ) -> None:
        self._judge, self._deadlines, self._capacity = judge, deadlines, capacity
        self._subjects: dict[SubjectKey, _Held] = {}
        self._due: dict[Kind, deque[tuple[datetime, Case]]] = {kind: deque() for kind in deadlines}

    def __len__(self) -> int:
        return len(self._subjects)

    def unknown(self, batch: Iterable[Sourced]) -> set[SubjectKey]:
        """The subjects of a batch that must be restored before it is applied."""
        return {key for record in batch if (key := _key(record.message)) is not None and key not in self._subjects}

    def restore(self, subjects: Iterable[Subject], now: datetime) -> None:
        """Take subjects back from the store.

        Those that wait for a decision wait their full time from now on: while nobody was here, their answers may have
        come in and are still to be read.
        """
        for subject in subjects:
            held = self._subjects[subject.key] = _Held()
            held.truth = subject.truth
            for answer in subject.answers:
                if answer.prediction.via == "ask":
                    continue
                held.remember(_answer_id(answer.prediction), said(answer.prediction))
            for case in subject.cases:
                held.cases[case.event_id] = case
                self._await(case, now)

    def apply(self, batch: Iterable[Sourced], now: datetime) -> Effects:
        """What follows from these messages, in their order."""
        effects = Effects(Entry(now))
        for record in batch:
            message = record.message
            if isinstance(message, Prediction) and message.via == "ask":
                # Kept for whoever asks, but no event waits for it: see `app.asking.asker.ID_PREFIX`.
                position = record.position
                effects.entry.answers.append(Answer(message, position.partition, position.offset))
            elif isinstance(message, Prediction):
                self._answer(message, record.position, effects)
            elif isinstance(message, OPENING):
                self._open(message, record, effects)
            elif isinstance(message, RideCompleted | RideCancelled):
                self._settle(message, effects)
        self._forget()
        return effects

    def expire(self, now: datetime, reached: datetime | None = None) -> Effects:
        """Decide what has waited long enough, without the models that are missing.

        Deadlines after `reached`, up to when the answers have been read, are held back; none are, by default.
        """
        effects, reached = Effects(Entry(now)), reached or now
        for queue in self._due.values():
            while queue and (queue[0][0] <= reached or queue[0][1].revision != UNDECIDED):
                case = queue.popleft()[1]
                if case.revision == UNDECIDED:
                    self._decide(case, self._subjects[case.key].figures(case), effects)
        return effects

    def next_deadline(self) -> datetime | None:
        """When `expire` has something to do; at the latest, for the case may be decided before."""
        return min((queue[0][0] for queue in self._due.values() if queue), default=None)

    def _touch(self, key: SubjectKey) -> _Held:
        """The subject, moved to the end of the order in which subjects are given up."""
        held = self._subjects.pop(key, None) or _Held()
        self._subjects[key] = held
        return held

    def _open(self, event: Event, record: Sourced, effects: Effects) -> None:
        key = _key(event)
        if key is None:
            return
        held = self._touch(key)
        if event.event_id in held.cases:
            return
        case = Case(
            event_id=event.event_id,
            subject_id=key.subject_id,
            user_id=key.user_id,
            kind=event.kind,
            event_at=event.at.astimezone(UTC),
            position=record.position,
            seen_at=effects.entry.at,
            traceparent=record.traceparent,
        )
        held.cases[case.event_id] = effects.entry.cases[case.event_key] = case
        self._await(case, effects.entry.at)
        self._consider(held, case, effects)

    def _answer(self, prediction: Prediction, position: Position, effects: Effects) -> None:
        held = self._touch(SubjectKey(prediction.user_id, prediction.subject_id))
        answer = _answer_id(prediction)
        again = held.knows(answer)
        effects.figures.append((prediction, again))
        if again:
            return
        effects.entry.answers.append(Answer(prediction, position.partition, position.offset))
        case = held.cases.get(prediction.event_id) if prediction.stage == "initial" else None
        awaited = case is not None and held.lacks(case, prediction.model)
        self._measure(held, answer, said(prediction), effects)
        if case and awaited:
            self._consider(held, case, effects)

    def _measure(self, held: _Held, answer: AnswerId, given: Said, effects: Effects) -> None:
        """Remember an answer; where the truth is known already, its error counts at once."""
        former = held.latest.get(answer[1:])
        held.remember(answer, given)
        if held.truth is None:
            return
        errors = effects.entry.errors
        if given.stage == "initial":
            count(errors, held.truth, [given])
        elif held.latest[answer[1:]] is given:
            count(errors, held.truth, [former] if former else [], sign=-1)
            count(errors, held.truth, [given])

    def _settle(self, truth: Truth, effects: Effects) -> None:
        held = self._touch(SubjectKey(truth.user_id, truth.subject_id))
        if held.truth is None:
            held.truth = truth
            effects.entry.truths.append(truth)
            count(effects.entry.errors, truth, (*held.answers.values(), *held.latest.values()))

    def _consider(self, held: _Held, case: Case, effects: Effects) -> None:
        """Decide when nobody is waited for any more; after the deadline, whenever somebody answers."""
        figures = held.figures(case)
        if case.revision != UNDECIDED or len(figures) == len(EXPECTED[case.kind]):
            self._decide(case, figures, effects)

    def _decide(self, case: Case, figures: Mapping[str, Figure], effects: Effects) -> None:
        case.revision += 1
        effects.entry.cases[case.event_key] = case
        action, reasons = self._judge(case.kind, figures)
        decision = Decision(
            decision_id=f"{case.event_id}.{case.revision}",
            subject_id=case.subject_id,
            user_id=case.user_id,
            kind=case.kind,
            event_id=case.event_id,
            event_at=case.event_at,
            at=effects.entry.at,
            action=action,
            reasons=reasons,
            predictions=tuple(figures.values()),
            missing=tuple(model for model in EXPECTED[case.kind] if model not in figures),
            revision=case.revision,
        )
        effects.entry.decisions.append(Made(decision, case.position.partition, case.traceparent))

    def _await(self, case: Case, now: datetime) -> None:
        if case.revision == UNDECIDED:
            self._due[case.kind].append((now + self._deadlines[case.kind], case))

    def _forget(self) -> None:
        """Give up the least recently touched subjects beyond the capacity, but none that waits for a decision."""
        excess = len(self._subjects) - self._capacity
        for key in list(islice(self._subjects, max(excess, 0))):
            if not self._subjects[key].waiting:
                del self._subjects[key]


def _key(message: Event | Prediction) -> SubjectKey | None:
    if isinstance(message, Prediction) and message.via == "ask":
        return None
    if isinstance(message, Prediction | RideEvent | UploadEvent):
        return SubjectKey(message.user_id, message.subject_id)
    return None


def _answer_id(prediction: Prediction) -> AnswerId:
    return prediction.event_id, prediction.model, prediction.version
