"""The terminal view of `millrace demo` as pure functions: what is known goes in, something rich can print comes out.

`cli.view` gathers what is known; nothing here connects, waits or looks at a clock.
"""

from collections.abc import Sequence
from datetime import datetime

from rich.console import RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.live import LiveDecision
from app.sql.ledger import LiveError
from cli.headline import headline, rate, uses, worth
from cli.picture import AgentStatus, Picture, Process

NARROW = 110
"""Below so many columns the panels stand one under the other."""

TALL = 40
"""Lines it takes to show all of them that way."""

HELD_SHARE = 5
"""One line in so many, at most, is for a card payment that is held."""

HELD_NARROW = 4
"""So many of them are shown where the panels stand one under the other."""

BEHIND = 1000
"""Records of lag from which on it is worth a look: more than one micro-batch holds in an idle system."""

_SHOWN_LATENCY_S = 60.0
"""A decision that came later than this is of a recorded event: the difference says nothing of the system."""

_COLOURS = {
    "quote": "green", "confirm": "yellow", "keep": "green", "review": "yellow", "remove": "red", "allow": "green",
    "block": "red",
}  # fmt: skip

_KINDS = {"transaction": "card"}
_ID = 12


def screen(picture: Picture, width: int, height: int) -> RenderableType:
    """The whole view, for a terminal of this size; a small one goes without the live error and the held payments."""
    decisions = Layout(_titled("Rides and uploads, as they are decided", decisions_table(picture.decisions)), ratio=3)
    parts = Layout(_titled("Parts", parts_table(picture.status.agents, picture.processes)), ratio=3)
    errors = Layout(_titled("Live error", errors_table(picture.status.errors)), ratio=2)
    body = Layout()
    if width < NARROW:
        body.split_column(decisions, *([*_held(picture, HELD_NARROW), parts, errors] if height >= TALL else [parts]))
    else:
        decided, side = Layout(ratio=3), Layout(ratio=2)
        decided.split_column(decisions, *_held(picture, height // HELD_SHARE))
        side.split_column(parts, errors)
        body.split_row(decided, side)
    whole = Layout()
    whole.split_column(Layout(headline(picture), size=len(uses(picture.status)) + 4), body)
    return whole


def _held(picture: Picture, most: int) -> list[Layout]:
    """The latest card payments that are held, if there are any."""
    rows = picture.held[:most]
    return [Layout(_titled("Card payments held", decisions_table(rows)), size=len(rows) + 3)] if rows else []


def line(picture: Picture) -> str:
    """The same in one line, for a log."""
    status = picture.status
    errors = [f"{error.model} {_error(error)}" for error in status.errors if error.stage == "initial"]
    parts = [
        picture.connection,
        *(f"{name} {rate(value)}/s" for name, value in status.rates.items()),
        *([f"lag {sum(agent.lag for agent in status.agents):,}"] if status.agents else []),
        *([f"error: {', '.join(errors)}"] if errors else []),
        *([f"cards: {', '.join(map(' '.join, worth(status.cards)))}"] if status.cards else []),
    ]
    return " · ".join(parts)


def decisions_table(decisions: Sequence[LiveDecision]) -> Table:
    """The latest decisions, newest first: what, about what, the decisive reason; and how long it took, where that is known."""
    took = [_latency(decision) for decision in decisions]
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("at", width=8, no_wrap=True)
    table.add_column("what", width=6, no_wrap=True)
    table.add_column("id", width=_ID, no_wrap=True)
    table.add_column("decision", width=8, no_wrap=True)
    table.add_column("because", no_wrap=True, overflow="ellipsis", ratio=1)
    if any(took):
        table.add_column("ms", justify="right", width=6)
    for decision, ms in zip(decisions, took, strict=True):
        table.add_row(
            _time(decision.at),
            Text(_KINDS.get(decision.kind, decision.kind)),
            Text(_tail(decision.subject_id)),
            Text(decision.action, _COLOURS.get(decision.action, "")),
            Text(_because(decision)),
            *([ms or "–"] if any(took) else []),
        )
    return table


def parts_table(agents: Sequence[AgentStatus], processes: Sequence[Process]) -> Table:
    """Who takes part: the consumer group (how far behind, how many members) and the process of the same name."""
    table = _small("part", "state", "lag", "members", "MB")
    groups, supervised = {agent.name: agent for agent in agents}, {process.name: process for process in processes}
    for name in dict.fromkeys([*groups, *supervised]):
        table.add_row(name, *_part(groups.get(name), supervised.get(name)))
    return table


def errors_table(errors: Sequence[LiveError]) -> Table:
    """What each model's predictions have been off by, by version and stage."""
    table = _small("model", "version", "error", "outcomes")
    for error in errors:
        name = error.model if error.stage == "initial" else f"{error.model}, corrected"
        table.add_row(name, error.version, _error(error), f"{error.n:,}")
    return table


def _titled(title: str, table: Table) -> Panel:
    return Panel(table, title=title, title_align="left", border_style="dim", padding=(0, 1))


def _part(group: AgentStatus | None, process: Process | None) -> tuple[Text, Text, Text, Text]:
    none = Text("–", "dim")
    return (
        _state(process) if process else _pace(group),
        Text(f"{group.lag:,}", "yellow" if group.lag > BEHIND else "") if group else none,
        Text(str(group.members), "" if group.members else "red") if group else none,
        Text(f"{process.rss_mb:,.0f}") if process and process.rss_mb is not None else none,
    )


def _state(process: Process) -> Text:
    """How a process does, and how often it had to be started again."""
    again = f", {process.restarts}× again" if process.restarts else ""
    return Text(f"{process.state}{again}", "red" if process.rss_mb is None else "yellow" if again else "")


def _pace(group: AgentStatus | None) -> Text:
    """How a group does whose members run in a process of another name."""
    if group is None or not group.members:
        return Text("nobody", "red")
    return Text("behind", "yellow") if group.lag > BEHIND else Text("keeps up")


def _small(*columns: str) -> Table:
    """A table without lines; figures stand to the right."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    for name in columns:
        text = name in {"part", "state", "model", "version"}
        least = None if text else len(name)
        table.add_column(name, justify="left" if text else "right", no_wrap=True, overflow="ellipsis", min_width=least)
    return table


def _because(decision: LiveDecision) -> str:
    """The decisive reason (of a quoted ride: its figures), and whether the decision was revised or lacks a model."""
    notes = [f"revision {decision.revision}"] if decision.revision else []
    notes += [f"without {', '.join(decision.missing)}"] if decision.missing else []
    return " · ".join([*decision.reasons[:1], *notes])


def _latency(decision: LiveDecision) -> str:
    """Milliseconds; empty where event time is not the clock's."""
    seconds = (decision.at - decision.event_at).total_seconds()
    return f"{seconds * 1000:,.0f}" if 0 <= seconds < _SHOWN_LATENCY_S else ""


def _tail(identity: str) -> str:
    """What tells an id from others: its end."""
    return identity if len(identity) <= _ID else f"…{identity[1 - _ID :]}"


def _error(error: LiveError) -> str:
    """The mean absolute error in the model's unit; the Brier score of a probability."""
    return _told(error.mae, error.unit) if error.brier is None else f"{error.brier:.3f} Brier"


def _told(value: float, unit: str) -> str:
    return f"${value:.2f}" if unit == "usd" else f"{value:.2f} {unit}"


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
