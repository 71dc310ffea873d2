"""`millrace schedule`: runs the jobs when they are due; lists them, and what became of their runs."""

import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.clock import utc_now
from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.jobs.job import Job
    from app.settings import Settings
    from app.sql.runs import Run

app = typer.Typer(invoke_without_command=True)


class CatchUp(StrEnum):
    all = "all"
    latest = "latest"
    none = "none"


@app.callback()
def schedule(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Option("--job", help="only these jobs (repeatable); default: all")] = None,
    once: Annotated[bool, typer.Option("--once", help="run what is due now, then end")] = False,
    cron: Annotated[
        str | None, typer.Option(help="instead of the job's own: five fields, or hourly, daily, weekly, monthly")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="time zone of the expression, such as Europe/Berlin")] = None,
    catch_up: Annotated[CatchUp | None, typer.Option(help="which missed runs to make up for")] = None,
) -> None:
    """Run jobs when they are due, until Ctrl-C. As many schedulers as you like may run: each run is done once.

    A run is scored as of the time it was due. One that fails is tried again after a growing pause; one whose worker was
    killed is taken over by any scheduler within two minutes.

    Examples:

      millrace schedule

      millrace schedule --job churn --cron "30 5 * * MON-FRI" --zone Europe/Berlin --catch-up all

      millrace schedule --once

      millrace schedule history --json
    """
    if context.invoked_subcommand == "history":
        if names or cron or zone or catch_up or once:
            raise ConfigurationError("schedule history: its options are its own, and come after its name")
        return
    chosen = _chosen(names, cron, zone, catch_up)
    if context.invoked_subcommand is not None:
        context.obj = chosen
        return
    from app.settings import read_settings
    from cli import jobs as shared

    settings = read_settings()
    if not once:
        serve(settings, chosen)
        return
    with shared.scheduler(settings, chosen) as scheduler:
        ended = scheduler.tick()
        for run in ended:
            _tell(run)
        if not ended:
            typer.echo("nothing is due")
    raise typer.Exit(0 if all(run.state == "done" for run in ended) else 1)


def serve(settings: "Settings", jobs: Sequence["Job"]) -> None:
    """Run these jobs when they are due, until a signal comes; what a process of its own does."""
    from cli import jobs as shared

    stop = stopped_by_signals()
    with shared.scheduler(settings, jobs) as scheduler:
        Console().print(_due_table(jobs, 3))
        scheduler.loop(stop, _tell)


@app.command("list")
def list_jobs(
    context: typer.Context,
    count: Annotated[int, typer.Option("--next", min=1, max=20, help="due times to show")] = 3,
) -> None:
    """Every job: when it is due next, and what it does about runs that were missed.

    With the options of `schedule`, which come first, what they would mean: millrace schedule --cron weekly list
    """
    Console().print(_due_table(context.obj, count))


@app.command()
def history(
    job: Annotated[str | None, typer.Option(help="of this job only")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="how many runs, the latest first")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
) -> None:
    """What became of the runs: done, failed, waiting, skipped, and what hindered them."""
    from app.jobs import job as jobs
    from app.settings import read_settings
    from app.sql.runs import Runs
    from cli import jobs as shared

    runs = Runs.open(read_settings().database_url)
    found = runs.history(job, limit)
    runs.close()
    if job is not None and not found:
        jobs.find(job)  # one that is gone may have had runs
    if as_json:
        for run in found:
            typer.echo(shared.run_json(run))
    else:
        Console().print(shared.runs_table(found, "Runs, by as-of time"))


def _chosen(names: Sequence[str] | None, cron: str | None, zone: str | None, catch_up: CatchUp | None) -> list["Job"]:
    """The jobs with what was said on the command line; a schedule that cannot be honoured is an error now."""
    from app.jobs import job as jobs
    from app.modes.schedule import times_of

    found = [jobs.find(name) for name in names or jobs.names()]
    if cron and len(found) > 1:
        raise ConfigurationError("--cron is for one job: name it with --job")
    chosen = [
        replace(
            job, cron=cron or job.cron, zone=zone or job.zone, catch_up=catch_up.value if catch_up else job.catch_up
        )
        for job in found
    ]
    for job in chosen:
        times_of(job)
    return chosen


def _due_table(jobs: Sequence["Job"], count: int) -> Table:
    from app.modes.schedule import times_of
    from cli.jobs import shown

    table = Table("job", "schedule", "missed runs", "due next", title="Scheduled jobs", title_justify="left")
    for job in jobs:
        times = times_of(job)
        dues = islice(times.after(utc_now()), count)
        table.add_row(job.name, str(times), job.catch_up, ", ".join(map(shown, dues)))
    return table


def _tell(run: "Run") -> None:
    from cli.jobs import shown

    counts = f": {run.scored:,} scored, {run.problems:,} without a score" if run.state == "done" else f": {run.error}"
    typer.echo(f"{utc_now():%H:%M:%S} {run.job} as of {shown(run.as_of)} {run.state}{counts}")


def stopped_by_signals() -> threading.Event:
    """Set by the first signal: the run in hand is given back after its chunk. The second ends the process at once.

    It raises nothing: an exception within a call to a database, or within an import, leaves it in pieces.
    """
    stop = threading.Event()

    def end(_number: int, _frame: object) -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop
