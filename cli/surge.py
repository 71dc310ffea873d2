"""The part of `millrace simulate transactions` that goes past the gateway: progress, report and exit code of a surge."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from app.settings import Settings
    from simulator.scenario import Options
    from simulator.surge import Surge

FOR_EVER_S = 1e9


def in_bulk(options: "Options", settings: "Settings", processes: int, *, as_json: bool) -> None:
    """Send it, and report; exits with 1 when the rate was not kept or something was not delivered."""
    from app.embedded import attached
    from simulator.flow import Flow
    from simulator.scenario import USUAL_RATE
    from simulator.surge import days_per_s, surge
    from simulator.transactions import midnight

    rate = options.rate or USUAL_RATE
    lasts = (options.seconds, options.count / rate if options.count else None)
    seconds = min((each for each in lasts if each is not None), default=FOR_EVER_S)
    flow = Flow(
        options.run,
        midnight(options.start),
        rate,
        days_per_s(rate, options.users, options.speed),
        seconds,
        seed=options.seed,
    )
    resolved = attached(settings, ["kafka"])
    if not as_json:
        typer.echo(
            f"{rate:,.0f} transactions a second straight to Kafka, {flow.days_per_s * 86_400:,.0f} times as fast as life"
        )
    with _Bar(None if seconds >= FOR_EVER_S else flow.total, quiet=as_json) as bar:
        found = surge(flow, options.users, processes, resolved, bar.watch)
    typer.echo(found.to_json()) if as_json else _show(found, rate)
    raise typer.Exit(0 if found.whole else 1)


class _Bar:
    """How many are sent, how fast at the moment, and how far behind."""

    def __init__(self, total: int | None, *, quiet: bool) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} a second"),
            TextColumn("{task.fields[behind]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,  # that takes a thread, and a process with threads must not fork
            disable=quiet,
        )
        self._task = self._bar.add_task("", total=total, rate=0.0, behind="")
        self._last = time.monotonic(), 0.0

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def watch(self, counts: Sequence[float]) -> None:
        """See `simulator.surge.surge`."""
        from simulator.flow import Count

        now, made = time.monotonic(), counts[Count.made]
        then, before = self._last
        if now - then >= 1.0:
            self._bar.update(self._task, rate=(made - before) / (now - then))
            self._last = now, made
        waiting = made + counts[Count.reported] - counts[Count.delivered]
        self._bar.update(self._task, completed=made, behind=f"{waiting:,.0f} on their way", refresh=True)


def _show(found: "Surge", rate: float) -> None:
    from simulator.surge import BEHIND_S

    console = Console()
    console.print(
        f"{found.made:,} transactions and {found.reported:,} reports of fraud in {found.seconds:.1f} s: "
        f"[bold]{found.rate:,.0f} a second[/bold] of {rate:,.0f}, {found.cpu_s:.1f} s of CPU in {found.processes} process(es)"
    )
    if found.behind_s > BEHIND_S:
        console.print(
            f"[yellow]behind schedule by up to {found.behind_s:.1f} s[/yellow]: try --processes, or a lower rate"
        )
    if lacking := found.made + found.reported - found.delivered:
        console.print(f"[red]{lacking:,} records were not acknowledged[/red]")
