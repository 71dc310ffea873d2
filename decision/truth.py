"""What really happened, as the models would have had to say it: the other half of every live error. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from app.decisions import Figure
from app.events import RideCompleted
from app.predictions import Prediction, Stage
from app.sql.ledger import ErrorKey, ErrorSum, Truth, WeekKey, iso_week


class Said(NamedTuple):
    """What is remembered of a prediction; `order` is the event time of the scored event, ties broken by its id."""

    figure: Figure
    stage: Stage
    order: tuple[float, str]


def said(prediction: Prediction) -> Said:
    figure = Figure(
        model=prediction.model,
        version=prediction.version,
        value=prediction.value,
        unit=prediction.unit,
        detail=prediction.detail if prediction.stage == "initial" else None,
    )
    return Said(figure, prediction.stage, (prediction.event_at.timestamp(), prediction.event_id))


def true_values(truth: Truth) -> Mapping[str, float]:
    """Model name to the value that would have been right; a model that this truth says nothing of is absent.

    A ride that was cancelled tells nothing of its length or price, and one paid in cash nothing of its tip.
    """
    if not isinstance(truth, RideCompleted):
        return {"cancellation": 1.0}
    values = {
        "eta": truth.duration_min,
        "duration": truth.duration_min,
        "cost": truth.fare_usd,
        "cancellation": 0.0,
    }
    if truth.tip_usd is not None:
        values["tip"] = truth.tip_usd
    return values


def count(errors: dict[WeekKey, ErrorSum], truth: Truth, answers: Iterable[Said], sign: int = 1) -> None:
    """Add the error of each answer to the sums of its model, version, stage and week (`sign=-1` takes it back)."""
    values = true_values(truth)
    for answer in answers:
        figure = answer.figure
        if (right := values.get(figure.model)) is not None:
            key = ErrorKey(figure.model, figure.version, answer.stage, figure.unit)
            week = iso_week(datetime.fromtimestamp(answer.order[0], UTC))
            errors.setdefault(WeekKey(key, week), ErrorSum()).add(figure.value - right, sign)
