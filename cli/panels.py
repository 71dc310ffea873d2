"""The terminal view of `millrace demo` as pure functions: what is known goes in, something rich can print comes out.

`cli.view` gathers what is known; nothing here connects, waits or looks at a clock.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.live import LiveDecision
from app.sql.ledger import LiveError

LIVE = "live"
"""The connection's state when all is well; anything else says what is not."""

NARROW = 110
"""Below so many columns the panels stand one under the other."""

TALL = 40
"""Lines it takes to show all of them that way."""

BEHIND = 1000
"""Records of lag from which on it is worth a look: more than one micro-batch holds in an idle system."""

_SHOWN_LATENCY_S = 60.0
"""A decision that came later than this is of a recorded event: the difference says nothing of the system."""

_COLOURS = {
    "quote": "green", "confirm": "yellow", "keep": "green", "review": "yellow", "remove": "red", "allow": "green",
    "block": "red",
}  # fmt: skip


class AgentStatus(Struct, frozen=True):
    """One consumer group, as `GET /v1/status` tells it."""

    name: str
    lag: int
    members: int


class Status(Struct, frozen=True):
    """What this view reads of `GET /v1/status`; it may say more."""

    agents: tuple[AgentStatus, ...] = ()
    errors: tuple[LiveError, ...] = ()
    rates: Mapping[str, float] = {}
    decisions: Mapping[str, int] = {}


class Process(NamedTuple):
    """One supervised process.

    Attributes:
        state: "running", "starting" or how it ended last.
        rss_mb: resident memory, megabytes; `None` when it is not there.
    """

    name: str
    state: str
    restarts: int
    rss_mb: float | None


class Picture(NamedTuple):
    """All that one frame shows.

    Attributes:
        connection: "live", or why it is not.
        decisions: newest first.
    """

    url: str
    connection: str
    up_s: float
    status: Status
    decisions: Sequence[LiveDecision]
    processes: Sequence[Process]


def screen(picture: Picture, width: int, height: int) -> RenderableType:
    """The whole view, for a terminal of this size; a small one goes without the live error."""
    decisions = Layout(_titled("Latest decisions", decisions_table(picture.decisions)), ratio=3)
    parts = Layout(_titled("Parts", parts_table(picture.status.agents, picture.processes)), ratio=3)
    errors = Layout(_titled("Live error", errors_table(picture.status.errors)), ratio=2)
    body = Layout()
    if width < NARROW:
        body.split_column(decisions, parts, *([errors] if height >= TALL else []))
    else:
        side = Layout(ratio=2)
        side.split_column(parts, errors)
        body.split_row(decisions, side)
    whole = Layout()
    whole.split_column(Layout(headline(picture), size=4), body)
    return whole


def line(picture: Picture) -> str:
    """The same in one line, for a log."""
    status = picture.status
    errors = [f"{error.model} {_error(error)}" for error in status.errors if error.stage == "initial"]
    parts = [
        picture.connection,
        *(f"{name} {_rate(value)}/s" for name, value in status.rates.items()),
        *([f"lag {sum(agent.lag for agent in status.agents):,}"] if status.agents else []),
        *([f"error: {', '.join(errors)}"] if errors else []),
    ]
    return " · ".join(parts)


def headline(picture: Picture) -> RenderableType:
    """Where to look, whether it runs, how fast."""
    live = picture.connection == LIVE
    top = Text.assemble(
        ("Millrace  ", "bold cyan"),
        ("open ", "dim"),
        (picture.url, f"bold underline link {picture.url}"),
        ("   ● " if live else "   ○ ", "green" if live else "yellow"),
        (picture.connection, "" if live else "yellow"),
        (f"   up {_clock(picture.up_s)}   Ctrl-C stops", "dim"),
    )
    rates = [(_rate(value), f" {name}/s") for name, value in picture.status.rates.items()]
    counts = [(f"{times:,}", f" {action}") for action, times in picture.status.decisions.items()]
    figures = Text("   ").join(Text.assemble((value, "bold"), (name, "dim")) for value, name in rates + counts)
    return Panel(Group(top, figures), border_style="dim", padding=(0, 1))


def decisions_table(decisions: Sequence[LiveDecision]) -> Table:
    """The latest decisions, newest first: what, about what, and the decisive reason."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("at", width=8, no_wrap=True)
    table.add_column("subject", width=18, no_wrap=True)
    table.add_column("decision", width=8, no_wrap=True)
    table.add_column("because", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("ms", justify="right", width=6)
    for decision in decisions:
        table.add_row(
            _time(decision.at),
            Text(decision.subject_id),
            Text(decision.action, _COLOURS.get(decision.action, "")),
            Text(_because(decision)),
            _latency(decision),
        )
    return table


def parts_table(agents: Sequence[AgentStatus], processes: Sequence[Process]) -> Table:
    """Who takes part: the consumer group (how far behind, how many members) and the process of the same name."""
    table = _small("part", "state", "lag", "members", "restarts", "MB")
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


def _part(group: AgentStatus | None, process: Process | None) -> tuple[Text, Text, Text, Text, Text]:
    none = Text("–", "dim")
    return (
        Text(process.state, "red" if process.rss_mb is None else "") if process else none,
        Text(f"{group.lag:,}", "yellow" if group.lag > BEHIND else "") if group else none,
        Text(str(group.members), "" if group.members else "red") if group else none,
        Text(str(process.restarts), "yellow" if process.restarts else "") if process else none,
        Text(f"{process.rss_mb:,.0f}") if process and process.rss_mb is not None else none,
    )


def _small(*columns: str) -> Table:
    """A table without lines; figures stand to the right."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    for name in columns:
        text = name in {"part", "state", "model", "version"}
        table.add_column(name, justify="left" if text else "right", no_wrap=True, overflow="ellipsis")
    return table


def _because(decision: LiveDecision) -> str:
    """The decisive reason (of a quoted ride: its figures), and whether the decision was revised or lacks a model."""
    notes = [f"revision {decision.revision}"] if decision.revision else []
    notes += [f"without {', '.join(decision.missing)}"] if decision.missing else []
    return " · ".join([*decision.reasons[:1], *notes])


def _latency(decision: LiveDecision) -> str:
    seconds = (decision.at - decision.event_at).total_seconds()
    return f"{seconds * 1000:,.0f}" if 0 <= seconds < _SHOWN_LATENCY_S else "–"


def _error(error: LiveError) -> str:
    """The mean absolute error in the model's unit; the Brier score of a probability."""
    return _told(error.mae, error.unit) if error.brier is None else f"{error.brier:.3f} Brier"


def _told(value: float, unit: str) -> str:
    return f"${value:.2f}" if unit == "usd" else f"{value:.2f} {unit}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:,.0f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
