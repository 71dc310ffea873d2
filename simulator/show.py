"""Live messages as lines a person reads; what `millrace watch` prints."""

from rich.text import Text

from app.decisions import Figure
from app.live import AnyLive, Connected, LiveDecision, LivePrediction, LiveRevision, Reconnect
from simulator.client import Lost

COLOURS = {
    "quote": "green",
    "confirm": "yellow",
    "keep": "green",
    "review": "yellow",
    "remove": "red",
    "allow": "green",
    "block": "red",
}
RIDE_FIGURES = ("eta", "duration", "cost", "tip", "cancellation")


def line(message: AnyLive, *, resuming: bool = False, everyone: bool = False) -> Text | None:
    """One line; `None` for what is not worth one (heartbeats).

    What a new connection means rests on whether it is `resuming`, and whether `everyone` is heard: of what was missed, only
    one's own is made up for.
    """
    match message:
        case LiveDecision():
            return _decision(message)
        case LivePrediction():
            return _prediction(message)
        case Connected(recovered=True) if everyone:
            return Text("· connected again; what others were told meanwhile is not made up for", "dim yellow")
        case Connected(recovered=True):
            return Text("· connected, nothing missed", "dim")
        case Connected():
            held = f"; here are the latest {len(message.snapshot)} decisions" if message.snapshot else ""
            if resuming:
                return Text(f"· connected, but the history is gone (recovered: false): from now on{held}", "yellow")
            return Text(f"· connected as {message.user_id}, from now on{held}", "dim")
        case Reconnect():
            return Text(f"· the gateway says: {message.reason}", "yellow")
    return None


def lost(end: Lost) -> Text:
    """A connection that ended."""
    return Text(f"· connection lost: {end.reason}; trying again in {end.retry_s:.1f} s", "yellow")


def _decision(decision: LiveDecision) -> Text:
    """What was decided, about what, the decisive reason, the figures of a ride."""
    name = f"{decision.action} (revised)" if isinstance(decision, LiveRevision) else decision.action
    text = _head(decision, name, f"bold {COLOURS.get(decision.action, '')}")
    told = _ride(decision.predictions) if decision.kind == "ride" else []
    if decision.action != "quote" or not told:
        told += decision.reasons[:1]  # the reason of a quote is its figures
    text.append(" · ".join(told))
    if decision.missing:
        text.append(f" · without {', '.join(decision.missing)}", "yellow")
    return text


def _prediction(prediction: LivePrediction) -> Text:
    """One figure; a correction says that it is one."""
    corrected = prediction.stage == "correction"
    text = _head(prediction, prediction.model, "cyan" if corrected else "dim cyan")
    text.append(told(prediction.value, prediction.unit), "" if corrected else "dim")
    if corrected:
        text.append(" corrected on the way", "cyan")
    return text


def _head(message: LiveDecision | LivePrediction, name: str, style: str) -> Text:
    text = Text(f"{message.at.astimezone():%H:%M:%S} ", "dim")
    text.append(f"{message.subject_id:<22} ", "dim")
    return text.append(f"{name:<14} ", style)


def _ride(figures: tuple[Figure, ...]) -> list[str]:
    by_model = {figure.model: figure for figure in figures}
    return [f"{name} {told(by_model[name].value, by_model[name].unit)}" for name in RIDE_FIGURES if name in by_model]


def told(value: float, unit: str) -> str:
    """A figure with its unit.

    >>> told(12.345, "min"), told(17.5, "usd"), told(0.0312, "probability"), told(0.97, "similarity")
    ('12.3 min', '$17.50', '3.1 %', '97.0 % alike')
    """
    if unit == "usd":
        return f"${value:.2f}"
    if unit in ("probability", "similarity"):
        return f"{100 * value:.1f} %{' alike' if unit == 'similarity' else ''}"
    return f"{value:.1f} {unit}"
