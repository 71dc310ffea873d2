"""A batch of predictions on card transactions becomes a batch of decisions: each a function of its prediction alone. Pure.

`decision.card_worker` calls it. One transaction has one model, so nothing is joined; at 65,000 a second there is time for
columns and for what msgspec does in C, and for little else.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct

from app.codec import Decoder, Failure, Record, header
from app.costs import CHOICES, Costs
from app.decisions import Decision, Figure
from app.errors import InvalidMessage
from app.events import Instant
from app.predictions import Charge, Prediction, Stage, Via
from app.telemetry import child_of

MODEL = "fraud"
"""Whose word decides. What another model says of a transaction is passed over."""

NOTHING = ("nothing suspicious",)

ShortText = Annotated[str, Meta(min_length=1, max_length=64)]
_PLAIN = bytes(range(ord("0"), ord("9") + 1)) + bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(97, 123)) + b"_.:-"
_ID = re.compile(r"[A-Za-z0-9_.:-]+\Z")  # the characters of `app.events.Id`
_NAME = re.compile(r"[\w.:+-]+\Z", re.ASCII)
_YEARS = frozenset(range(1970, 2200))
"""Outside, arithmetic on instants overflows."""


class CardPrediction(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="millrace.prediction.v1"):
    """`app.predictions.Prediction` of a transaction, with bounds the store can live with; half as dear to decode."""

    event_id: ShortText
    subject_id: ShortText
    user_id: ShortText
    kind: Literal["transaction"]
    model: ShortText
    version: ShortText
    value: Annotated[float, Meta(ge=0, le=1)]
    unit: Literal["probability"]
    event_at: Instant
    at: Instant
    topic: Annotated[str, Meta(max_length=249)]
    partition: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
    offset: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    latency_ms: Annotated[float, Meta(ge=0, le=1e12)]
    detail: Charge
    stage: Stage = "initial"
    arm: ShortText = "live"
    via: Via = "stream"


class Asked(NamedTuple):
    """Predictions that ask for a decision, and the records they came in: n and n."""

    predictions: list[CardPrediction]
    records: Sequence[Record]

    def where(self, holds: Callable[[CardPrediction, Record], bool]) -> "Asked":
        """Some of them."""
        kept = [pair for pair in zip(self.predictions, self.records, strict=True) if holds(*pair)]
        return Asked([said for said, _ in kept], [record for _, record in kept])


class Verdicts(NamedTuple):
    """Decisions, (n,), and which of the rows are held: those not to be allowed, in their order."""

    decisions: list[Decision]
    held: list[int]


_decoder: Decoder[CardPrediction] = Decoder(CardPrediction)


def read(records: Sequence[Record]) -> tuple[Asked, list[Failure]]:
    """The predictions that ask for a decision, and what cannot be read. Anyone may write to the topic, so each is checked."""
    decoded, failures = _decoder.decode_batch(records)
    if failures:
        records = [record for said, record in zip(decoded, records, strict=True) if said is not None]
    asked = Asked([said for said in decoded if said is not None], records)
    if not _all_plain(asked.predictions):
        asked = asked.where(lambda said, record: _checked(said, record, failures))
    if not all(map(_decides, asked.predictions)):
        asked = asked.where(lambda said, _: _decides(said))
    return asked, failures


def judge(predictions: Sequence[CardPrediction], costs: Costs) -> Verdicts:
    """What is done about each, by what costs least."""
    n = len(predictions)
    probability = np.fromiter((said.value for said in predictions), np.float64, n)
    amount = np.fromiter((said.detail.amount_usd for said in predictions), np.float64, n)
    chosen = costs.choose(probability, amount)
    held: list[int] = np.flatnonzero(chosen).tolist()
    decisions = [_allow(said) for said in predictions]
    for row in held:
        decisions[row] = _hold(decisions[row], predictions[row], int(chosen[row]), costs)
    return Verdicts(decisions, held)


def whole(said: CardPrediction) -> Prediction:
    """The prediction as everybody knows it."""
    fields = {name: getattr(said, name) for name in CardPrediction.__struct_fields__}
    return Prediction(**{**fields, "detail": msgspec.to_builtins(said.detail)})


def trace(record: Record) -> str | None:
    """The trace that a decision on this prediction belongs to."""
    return child_of(header(record.headers, "traceparent"))


def _allow(said: CardPrediction) -> Decision:
    return Decision(
        decision_id=f"{said.event_id}.0",
        subject_id=said.subject_id,
        user_id=said.user_id,
        kind="transaction",
        event_id=said.event_id,
        event_at=said.event_at,
        at=said.at,
        action="allow",
        reasons=NOTHING,
        predictions=(Figure(model=said.model, version=said.version, value=said.value, unit=said.unit),),
    )


def _hold(allowed: Decision, said: CardPrediction, choice: int, costs: Costs) -> Decision:
    detail = msgspec.to_builtins(said.detail)
    return msgspec.structs.replace(
        allowed,
        action=CHOICES[choice],
        reasons=_reasons(said, choice, costs),
        predictions=(msgspec.structs.replace(allowed.predictions[0], detail=detail),),
    )


def _reasons(said: CardPrediction, choice: int, costs: Costs) -> tuple[str, ...]:
    """What it looks like, and the reckoning behind it."""
    charge = said.detail
    columns = np.array([said.value]), np.array([charge.amount_usd])
    expected = dict(zip(CHOICES, costs.expected(*columns)[:, 0].tolist(), strict=True))
    others = ", ".join(f"to {other} {usd:.2f}" for other, usd in expected.items() if other != CHOICES[choice])
    return (
        f"looks like fraud ({said.value:.0%}): ${charge.amount_usd:.2f} at {charge.terminal_id} ({charge.source})",
        f"to {CHOICES[choice]} costs ${expected[CHOICES[choice]]:.2f} on average; {others}",
    )


def _decides(said: CardPrediction) -> bool:
    return said.model == MODEL and said.via == "stream" and said.stage == "initial"


def _all_plain(predictions: Sequence[CardPrediction]) -> bool:
    """Whether surely every field is good. All at once, a tenth of one by one."""
    ids = [said.event_id for said in predictions]
    ids += [said.subject_id for said in predictions]
    ids += [said.user_id for said in predictions]
    ids += [said.detail.terminal_id for said in predictions]
    years = {said.event_at.year for said in predictions} | {said.at.year for said in predictions}
    names = {said.version for said in predictions} | {said.topic for said in predictions}
    names |= {said.arm for said in predictions}
    return not "_".join(ids).encode().translate(None, _PLAIN) and years <= _YEARS and all(map(_is_name, names))


def _checked(said: CardPrediction, record: Record, failures: list[Failure]) -> bool:
    """Whether a prediction is good; enters the failure when it is not."""
    ids = {"event_id": said.event_id, "subject_id": said.subject_id, "user_id": said.user_id}
    ids["detail.terminal_id"] = said.detail.terminal_id
    names = {"version": said.version, "topic": said.topic, "arm": said.arm}
    bad = [InvalidMessage("not an id", field) for field, value in ids.items() if not _ID.match(value)]
    bad += [InvalidMessage("not a plain name", field) for field, value in names.items() if not _is_name(value)]
    times = {"event_at": said.event_at, "at": said.at}
    bad += [InvalidMessage("out of bounds", field) for field, at in times.items() if at.year not in _YEARS]
    if bad:
        failures.append(Failure(record, bad[0]))
    return not bad


@lru_cache(maxsize=256)
def _is_name(text: str) -> bool:
    return _NAME.match(text) is not None
