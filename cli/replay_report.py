"""What `millrace replay` says at its end: how much was replayed, and what would have been otherwise."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from agents._calendar import NEW_YORK
from app import topic_admin
from app.agent import find
from app.costs import CHOICES, Costs
from app.decisions import Figure
from app.events import Kind
from app.modes.replay.book import Book, Standing
from app.modes.replay.failings import failings
from app.modes.replay.known import Known, OnCards, in_store
from app.modes.replay.plan import Plan
from app.modes.replay.reports import make_report, read_report
from app.settings import Settings
from app.sql.whatif import Judge
from app.store import Store
from app.topics import CARD_DECISIONS
from decision.cards import MODEL
from decision.policy import judge
from decision.truth import true_values

_SLICES = 8
_FLIPS = 10

Record = dict[str, Any]


def tell(book: Book, plan: Plan, standing: Standing, settings: Settings, console: Console, as_json: bool) -> None:
    """How the run ended, and the answer to what was asked of it."""
    failed = failings(book.replays, book.run) if standing.failed else []
    reports = _reports(book, plan, settings) if plan.question else []
    if as_json:
        causes = [each._asdict() for each in failed]
        typer.echo(msgspec.json.encode({"run": book.run, **standing._asdict(), "failures": causes, "reports": reports}))
        return
    console.print(
        f"run {book.run}: {standing.passed:,} records, {standing.predicted:,} predictions, {standing.failed:,} failed",
        highlight=False,
    )
    if not standing.size:
        console.print("there is nothing in this range", highlight=False)
    for each in failed:
        place = f"{each.topic}/{each.partition}@{each.offset}"
        words = f"{each.model}: {each.records:,} failed, the first at {place}: {each.cause}: {each.error}"
        console.print(words, highlight=False, markup=False, soft_wrap=True)
    for report in reports:
        _say(report, console)


def _reports(book: Book, plan: Plan, settings: Settings) -> list[Record]:
    store = Store.open(settings.database_url)
    found = []
    try:
        for chosen in plan.chosen:
            with _known(chosen.agent, store, settings) as known:
                make_report(book.replays, known, book.run, chosen.agent, policy(settings), NEW_YORK)
            report = read_report(book.replays, book.run, chosen.agent)
            found += [report] if report is not None else []
    finally:
        store.close()
    return found


@contextmanager
def _known(agent: str, store: Store, settings: Settings) -> Iterator[Known]:
    """What was said and decided then, of what this agent answers."""
    if not on_cards(agent):
        yield in_store(store, agent, true_values)
        return
    with TemporaryDirectory(prefix="millrace-decided-") as directory, OnCards(Path(directory)) as known:
        asyncio.run(_read(known, settings))
        yield known


async def _read(known: OnCards, settings: Settings) -> None:
    found = (await topic_admin.describe(settings, [CARD_DECISIONS])).topics.get(CARD_DECISIONS.name)
    if found is not None:
        await known.read(settings.kafka or "", found.partitions)


def on_cards(agent: str) -> bool:
    """Whether an agent answers card transactions, whose decisions are on a topic."""
    return find(agent).consumes[0].kind == "transaction"


def policy(settings: Settings) -> Judge:
    """Today's policy: for cards what costs least, for the others `decision.policy`."""
    costs = Costs.of(settings)

    def action(kind: Kind, figures: Mapping[str, Figure]) -> str:
        if kind != "transaction":
            return judge(kind, figures).action
        said = figures[MODEL]
        amount = (said.detail or {})["amount_usd"]
        return CHOICES[int(costs.choose(np.array([said.value]), np.array([amount], np.float64))[0])]

    return action


def _say(report: Record, console: Console) -> None:
    console.print(f"\n[bold]{report['model']} {report['version']}[/bold]", highlight=False)
    first, last = (f"{report[at]:%Y-%m-%d %H:%M}" if report[at] else "-" for at in ("first_at", "last_at"))
    console.print(
        f"{report['predicted']:,} answers to events from {first} to {last} UTC, {report['failed']:,} failed; "
        f"known are {report['answered']:,} live answers and {report['decided']:,} decisions of then.",
        highlight=False,
    )
    if report["decided"]:
        _say_decisions(report, console)
    if report["errors"]:
        _say_errors(report, console)
    if report["flips"]:
        _say_flips(report, console)


def _say_decisions(report: Record, console: Console) -> None:
    share = report["flipped"] / report["decided"]
    console.print(f"{report['flipped']:,} decisions would be others ({share:.2%}).", highlight=False)
    if report["drifted"]:
        console.print(
            f"{report['drifted']:,} of those of then would be others today by the policy alone.", highlight=False
        )
    table = Table("was", "would be", title="Decisions", title_justify="left")
    for column in ("n", f"mean, {report['unit']}", "least", "most"):
        table.add_column(column, justify="right")
    for row in sorted(report["actions"], key=lambda row: -row["n"]):
        figures = (f"{row[name]:.4g}" for name in ("mean", "least", "most"))
        table.add_row(row["was"], row["would_be"], f"{row['n']:,}", *figures)
    console.print(table)


def _say_errors(report: Record, console: Console) -> None:
    loss = "Brier score" if report["errors"][0]["loss"] == "squared" else f"mean absolute error, {report['unit']}"
    table = Table("slice", "", title=f"Where the truth is known: {loss}", title_justify="left")
    for column in ("n", "then", "now", "change", "95 % interval"):
        table.add_column(column, justify="right")
    for row in _shown(report["errors"]):
        then, change = (_figure(row[name]) for name in ("then", "change"))
        low_high = "" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
        name = row["key"] or row["stage"]
        table.add_row(row["slice"], name, f"{row['n']:,}", then, _figure(row["now"]), change, low_high)
    console.print(table)


def _shown(errors: Sequence[Record]) -> list[Record]:
    """All together, then the zones and hours with the most rides; the store has the rest."""
    shown = [row for row in errors if row["slice"] == "all"]
    for name in ("zone", "hour"):
        rows = [row for row in errors if row["slice"] == name and row["stage"] == "initial"]
        shown += sorted(rows, key=lambda row: -row["n"])[:_SLICES]
    return shown


def _say_flips(report: Record, console: Console) -> None:
    table = Table("subject", "was", "would be", title="Which, the first of them", title_justify="left")
    for column in ("then", "now"):
        table.add_column(column, justify="right")
    for row in report["flips"][:_FLIPS]:
        figures = (_figure(row["value_then"]), _figure(row["value_now"]))
        table.add_row(row["subject_id"], row["was"], row["would_be"], *figures)
    console.print(table)
    if len(report["flips"]) > _FLIPS:
        console.print(f"{report['flipped']:,} in all: --json, or the table whatif_flips", highlight=False)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
