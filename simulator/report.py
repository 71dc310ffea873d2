"""The report of a run: what was asked, what was answered, how fast and how well; for a person or for a script."""

import json
from collections import Counter
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from app.sql.ledger import LiveError
from simulator.findings import Error, Latency
from simulator.tally import Tally


@dataclass(frozen=True)
class Report:
    """Of one run that waited for its decisions.

    Attributes:
        events, retries, refused, abandoned: see `Tally`.
        seconds: how long the sending took.
        asked: opening events sent, each of which is owed a decision.
        decided: those whose decision came live to its user; `stored`: those found only by asking the store.
        missing: the event ids of those that have none.
        repeats: messages the live channel gave a user twice; `reconnects`: of the users' websockets.
        predictions: figures that came live, by "model stage".
        lacking: decisions made without a model, by model.
        errors: of the figures against the outcomes, reckoned by the simulator from what it was told.
        live_errors: the system's own account, since it first ran, not of this run alone.
        skipped: what of a recording was not replayed, by reason.
        again: first decisions heard a second time, which must not be.
    """

    run: str
    events: dict[str, int]
    retries: int
    refused: dict[str, int]
    abandoned: int
    seconds: float
    asked: int
    decided: int
    stored: int
    missing: tuple[str, ...]
    revisions: int
    repeats: int
    reconnects: int
    predictions: dict[str, int]
    lacking: dict[str, int]
    latency_ms: Latency | None
    errors: tuple[Error, ...]
    live_errors: tuple[LiveError, ...]
    skipped: dict[str, int]
    again: int = 0

    @property
    def whole(self) -> bool:
        """Whether every event was taken and every question answered, once."""
        return not (self.missing or self.refused or self.abandoned or self.again)

    def to_json(self) -> str:
        fields = asdict(self)
        fields["latency_ms"] = self.latency_ms._asdict() if self.latency_ms else None
        fields["errors"] = [error._asdict() for error in self.errors]
        return json.dumps(fields)


def show(report: Report, console: Console) -> None:
    """The report for a person."""
    console.print(_facts(report))
    if report.errors or report.live_errors:
        console.print(_errors(report))


def tally_json(tally: Tally, seconds: float) -> str:
    """What was sent, for a script."""
    return json.dumps({**vars(tally), "seconds": seconds})


def show_tally(tally: Tally, seconds: float, skipped: Counter[str], console: Console) -> None:
    """What was sent, for a run nobody waits for."""
    table = _grid()
    _sent(table, dict(tally.events), tally.retries, seconds)
    _problems(table, dict(tally.refused), tally.abandoned, dict(skipped))
    if tally.poisoned:
        table.add_row("poisoned", f"{tally.poisoned:,} records")
    console.print(table)


def _facts(report: Report) -> Table:
    table = _grid()
    _sent(table, report.events, report.retries, report.seconds)
    _problems(table, report.refused, report.abandoned, report.skipped)
    share = f"{report.decided + report.stored:,} of {report.asked:,}"
    table.add_row("decided", f"[green]{share}[/green]" if not report.missing else f"[red]{share}[/red]")
    if report.stored:
        table.add_row("", f"{report.stored:,} of them are in the store but did not come live")
    if report.missing:
        table.add_row("missing", f"[red]{len(report.missing):,}[/red], for instance {', '.join(report.missing[:3])}")
    if report.again:
        table.add_row("decided twice", f"[red]{report.again:,}[/red]")
    if report.lacking:
        table.add_row("without a model", _counts(report.lacking))
    if report.revisions or report.repeats or report.reconnects:
        told = f"{report.revisions:,} revisions, {report.repeats:,} heard twice, {report.reconnects:,} reconnects"
        table.add_row("besides", told)
    if report.predictions:
        table.add_row("predictions", f"{sum(report.predictions.values()):,}: {_counts(report.predictions)}")
    if report.latency_ms:
        p50, p99, most = report.latency_ms
        table.add_row("POST to decision", f"p50 {p50:,.1f} ms, p99 {p99:,.1f} ms, max {most:,.1f} ms")
    return table


def _errors(report: Report) -> Table:
    table = Table("model", "version", "stage", title="Errors against what came of it", title_justify="left", box=None)
    for name in ("n", "MAE", "RMSE", "bias", "Brier", "counted by"):
        table.add_column(name, justify="right")
    for error in report.errors:
        row = (f"{error.n:,}", f"{error.mae:.2f}", f"{error.rmse:.2f}", f"{error.bias:+.2f}", "")
        table.add_row(error.model, error.version, "initial", *row, "this run")
    for kept in report.live_errors:
        brier = "" if kept.brier is None else f"{kept.brier:.4f}"
        row = (f"{kept.n:,}", f"{kept.mae:.2f}", f"{kept.rmse:.2f}", f"{kept.bias:+.2f}", brier)
        table.add_row(kept.model, kept.version, kept.stage, *row, "the system, so far")
    return table


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _sent(table: Table, events: dict[str, int], retries: int, seconds: float) -> None:
    total = sum(events.values())
    rate = total / seconds if seconds else 0.0
    table.add_row("accepted", f"{total:,} events in {seconds:,.1f} s, {rate:,.0f}/s: {_counts(events)}")
    if retries:
        table.add_row("retries", f"{retries:,}")


def _problems(table: Table, refused: dict[str, int], abandoned: int, skipped: dict[str, int]) -> None:
    for reason, count in refused.items():
        table.add_row("refused", f"[red]{count:,}[/red]: {reason}")
    if abandoned:
        table.add_row("given up", f"[red]{abandoned:,}[/red]: the gateway took none of their tries")
    for reason, count in skipped.items():
        table.add_row("skipped", f"{count:,} {reason}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
