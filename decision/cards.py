"""Predictions on card transactions, in columns, become decisions: each a function of its own row alone. Pure.

`decision.card_desk` calls it. One transaction has one model, so nothing is joined; at 65,000 a second there is time for
columns, and a decision of its own is worded only for what is kept (docs/decisions/0007).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import get_args

import msgspec
import numpy as np
from msgspec import Struct

from app.codec import Decoder, Failure, Record, encode
from app.costs import CHOICES, Costs
from app.decisions import Action, Decision, DecisionBatch, Figure
from app.errors import InvalidMessage
from app.events import YEARS, Source
from app.lines import are_ids
from app.predictions import Prediction, PredictionBatch

MODEL = "fraud"
"""Whose word decides. What another model says of a transaction is passed over."""

MOST_OF_AN_ID = 64
"""Characters; as `app.events.Id` has it."""

NOTHING = ("nothing suspicious",)

_NAME = re.compile(r"[\w.:+-]{1,249}\Z", re.ASCII)
_SOURCES = frozenset(get_args(Source))

_ZONE, _YEAR = attrgetter("tzinfo"), attrgetter("year")

_BOUNDS = {
    "value": (0.0, 1.0),
    "latency_ms": (0.0, 1e12),
    "offset": (0, (1 << 63) - 1),
    "detail.amount_usd": (0.0, 1e6),
}
"""What the store and the arithmetic can live with."""


class Charges(Struct, gc=False):
    """`app.predictions.Charge` of n transactions, in columns."""

    amount_usd: list[float]
    terminal_id: list[str]
    source: list[str]


@dataclass
class Sheet:
    """One record of predictions and what is done about each of its rows.

    Attributes:
        actions: (n,) one for each row of `said`.
    """

    record: Record
    said: PredictionBatch
    actions: list[Action]

    @property
    def held(self) -> list[int]:
        """The rows that are not allowed."""
        return [row for row, action in enumerate(self.actions) if action != "allow"]

    def in_columns(self) -> DecisionBatch:
        """The decisions, as all of them go out."""
        said = self.said
        return DecisionBatch(
            kind=said.kind,
            model=said.model,
            version=said.version,
            unit=said.unit,
            at=said.at,
            partition=self.record.partition,
            offset=self.record.offset,
            event_id=said.event_id,
            subject_id=said.subject_id,
            user_id=said.user_id,
            value=said.value,
            action=self.actions,
        )


_decoder: Decoder[PredictionBatch] = Decoder(PredictionBatch)


def read(record: Record) -> tuple[PredictionBatch | None, list[Failure]]:
    """The rows that ask for a decision, if there are any, and what cannot be read. Anyone may write to the topic.

    What is no rectangle of the right types fails as a whole. A row that is not good fails alone: as a record of that row,
    which can be sent back, with an error that names its place.
    """
    try:
        said = _decoder.decode(record.value, record.headers)
        _check(said)
        charges = _charges(said)
        bad = dict(_bad_rows(said, charges))
    except InvalidMessage as error:
        return None, [Failure(record, error)]
    if said.model != MODEL or said.via != "stream" or said.stage != "initial":
        return None, []
    failures = [
        Failure(record._replace(value=encode(said.some([row]))), InvalidMessage(f"row {row}: {problem}", field))
        for row, (field, problem) in sorted(bad.items())
    ]
    good = [row for row in range(len(said)) if row not in bad] if bad else range(len(said))
    return (said.some(good) if bad else said) if good else None, failures


def judge(said: PredictionBatch, costs: Costs) -> list[Action]:
    """What is done about each row, by what costs least: (n,)."""
    probability, amount = np.array(said.value), np.array(said.detail["amount_usd"], np.float64)
    chosen: list[Action] = np.array(CHOICES, dtype=object)[costs.choose(probability, amount)].tolist()
    return chosen


def worded(said: PredictionBatch, actions: Sequence[Action], costs: Costs) -> Iterator[tuple[Prediction, Decision]]:
    """The rows as predictions, and the decisions on them in words."""
    probability, amount = np.array(said.value), np.array(said.detail["amount_usd"], np.float64)
    expected = costs.expected(probability, amount).T.tolist()
    charges = _charges(said)
    charged = zip(charges.amount_usd, charges.terminal_id, charges.source, strict=True)
    for one, charge, action, usd in zip(said.rows(), charged, actions, expected, strict=True):
        held, (amount_usd, terminal_id, source) = action != "allow", charge
        detail = {"amount_usd": amount_usd, "terminal_id": terminal_id, "source": source} if held else None
        yield (
            one,
            Decision(
                decision_id=f"{one.event_id}.0",
                subject_id=one.subject_id,
                user_id=one.user_id,
                kind="transaction",
                event_id=one.event_id,
                event_at=one.event_at,
                at=one.at,
                action=action,
                reasons=_reasons(one.value, charge, action, usd) if held else NOTHING,
                predictions=(
                    Figure(model=one.model, version=one.version, value=one.value, unit=one.unit, detail=detail),
                ),
            ),
        )


def _reasons(value: float, charge: tuple[float, str, str], action: Action, usd: Sequence[float]) -> tuple[str, ...]:
    """What it looks like, and the reckoning behind it: what each of `CHOICES` would cost on average."""
    amount_usd, terminal_id, source = charge
    words, order = _RECKONING[action]
    return (
        f"fraud risk {value:.0%}: ${amount_usd:.2f} at {terminal_id} ({source})",
        words % tuple([usd[choice] for choice in order]),
    )


def _reckoning(action: Action) -> tuple[str, tuple[int, ...]]:
    """The words of the reckoning, and whose costs go into them, by place in `CHOICES`; made once, for words take time."""
    order = sorted(range(len(CHOICES)), key=lambda choice: CHOICES[choice] != action)
    others = ", ".join(f"to {CHOICES[choice]} %.2f" for choice in order[1:])
    return f"to {action} costs $%.2f on average; {others}", tuple(order)


_RECKONING = {action: _reckoning(action) for action in CHOICES}


def _check(said: PredictionBatch) -> None:
    """What all rows share. Raises `InvalidMessage`."""
    for field, fixed in (("kind", "transaction"), ("unit", "probability")):
        if getattr(said, field) != fixed:
            raise InvalidMessage(f"not {fixed}", field)
    for field in ("model", "version", "topic", "arm"):
        if not _NAME.match(getattr(said, field)):
            raise InvalidMessage("not a plain name", field)
    if not 0 <= said.partition < 1 << 31:
        raise InvalidMessage("out of bounds", "partition")
    if not _is_instant(said.at):
        raise InvalidMessage("out of bounds", "at")


def _charges(said: PredictionBatch) -> Charges:
    """Raises `InvalidMessage`."""
    try:
        return msgspec.convert(said.detail, Charges)
    except msgspec.ValidationError as error:
        raise InvalidMessage(str(error), "detail") from error


def _bad_rows(said: PredictionBatch, charges: Charges) -> Iterator[tuple[int, tuple[str, str]]]:
    """Row -> field and problem, for each that is not good."""
    ids = {name: getattr(said, name) for name in ("event_id", "subject_id", "user_id", "key")}
    for field, texts in {**ids, "detail.terminal_id": charges.terminal_id}.items():
        if not are_ids(texts) or max(map(len, texts), default=0) > MOST_OF_AN_ID:
            bad = (row for row, text in enumerate(texts) if not are_ids([text]) or len(text) > MOST_OF_AN_ID)
            yield from ((row, (field, "not an id")) for row in bad)
    if not _SOURCES.issuperset(charges.source):
        of = enumerate(charges.source)
        yield from ((row, ("detail.source", "no such source")) for row, source in of if source not in _SOURCES)
    numbers: dict[str, list[float] | list[int]] = {"value": said.value, "latency_ms": said.latency_ms}
    for field, column in {**numbers, "offset": said.offset, "detail.amount_usd": charges.amount_usd}.items():
        low, high = _BOUNDS[field]
        if not (low <= min(column, default=low) and max(column, default=low) <= high):
            yield from ((row, (field, "out of bounds")) for row, each in enumerate(column) if not low <= each <= high)
    if None in set(map(_ZONE, said.event_at)) or not YEARS.issuperset(map(_YEAR, said.event_at)):
        yield from ((row, ("event_at", "out of bounds")) for row, at in enumerate(said.event_at) if not _is_instant(at))


def _is_instant(at: datetime) -> bool:
    return at.tzinfo is not None and at.year in YEARS
