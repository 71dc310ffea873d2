"""`millrace replay --list`: the runs there are, and how each is gone on with."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.clock import utc_now
from app.modes.replay.past import Past, past
from app.modes.replay.plan import Plan, TopicRange
from app.sql.replays import Replays

SHOWN = 20
"""A screenful; a script gets all of them."""

_LONGEST = 40  # of a query, which may go on over a page


def show(replays: Replays, console: Console, as_json: bool) -> None:
    """The runs, the newest first; one JSON object a line for a script."""
    found, now = past(replays), utc_now()
    if as_json:
        for each in found:
            told = {"rate": each.rate(now), "resume": None if each.state == "done" else _resume(each.run)}
            typer.echo(msgspec.json.encode({**each._asdict(), **told}))
        return
    if not found:
        console.print("no replay was begun here yet", highlight=False)
        return
    console.print(_table(found[:SHOWN], now))
    if len(found) > SHOWN:
        console.print(f"and {len(found) - SHOWN:,} older ones: --json lists all", highlight=False)
    if any(each.state == "stopped" for each in found[:SHOWN]):
        console.print(f"one that is stopped goes on with: {_resume('NAME')}", highlight=False, soft_wrap=True)


def _resume(run: str) -> str:
    return f"millrace replay --run {run}"


def _table(found: Sequence[Past], now: datetime) -> Table:
    """Two lines a run, which fit on 80 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("records", justify="right", no_wrap=True)
    table.add_column("begun, UTC", no_wrap=True)
    for each in found:
        records = f"{each.passed:,}" if each.state == "done" else f"{each.passed:,}\nof {each.size:,}"
        begun = f"{each.began_at.astimezone(UTC):%Y-%m-%d %H:%M}\n{_pace(each, now)}"
        what = Text.assemble(f"{each.run}\n", (_what(each.plan), "dim"))  # no markup: a query may have brackets
        table.add_row(what, each.state, records, begun)
    return table


def _what(plan: Plan) -> str:
    agents = ", ".join(f"{chosen.agent} {chosen.version}" for chosen in plan.chosen)
    target = plan.directory if plan.directory is not None else plan.question or plan.target
    return f"{agents}: {_source(plan)} → {target}"


def _source(plan: Plan) -> str:
    """What is read, as short as can be."""
    source = plan.source
    if not isinstance(source, TopicRange):
        words = " ".join(source.name.split()) if source.kind == "sql" else Path(source.name).name
        return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
    bounds = [f"{word} {at:%Y-%m-%dT%H:%MZ}" for word, at in (("from", source.since), ("to", source.until)) if at]
    return " ".join([source.topic or "its topics", *bounds, *(["some offsets"] if source.offsets else [])])


def _pace(each: Past, now: datetime) -> str:
    rate = each.rate(now)
    return "" if rate is None else f"{_span((each.finished_at or now) - each.began_at)}, {rate:,.0f}/s"


def _span(time: timedelta) -> str:
    seconds = time.total_seconds()
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
