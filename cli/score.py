"""`millrace score`: one run of a scheduled job, now, as of any time."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.clock import utc_now
from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.jobs.job import Job
    from app.modes.schedule import Scheduler
    from app.sql.runs import Run

NOBODY = "nobody was known then; in the demo, `millrace simulate --customers` makes some up: score again with --again"


def score(
    name: Annotated[str, typer.Argument(help="a job; `millrace schedule list` names them", metavar="JOB")],
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="what was known then, with its zone; default: when it was due last")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="even if it is done; readers see the old scores meanwhile")
    ] = False,
    top: Annotated[int, typer.Option(min=0, max=1000, help="how many subjects to show")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="the run as one JSON object, and nothing else")] = False,
) -> None:
    """Score the subjects of a job as of a time, from the rows of the database that MILLRACE_CUSTOMERS names.

    A run is done once: asked for again it says so, and --again does it anew. One whose worker was killed is taken over
    when its lease is over. The scores appear all at once.

    Examples:

      millrace score churn

      millrace score churn --as-of 2026-11-01T00:00Z --top 20
    """
    from app.jobs import customers
    from app.jobs import job as jobs
    from app.modes.schedule import times_of
    from app.settings import read_settings
    from app.sql.tables import check
    from cli import jobs as shared

    job, now = jobs.find(name), utc_now()
    wanted = times_of(job).last(now) if as_of is None else shared.instant(as_of, "--as-of")
    if wanted > now:
        raise ConfigurationError(f"--as-of {as_of}: lies in the future, of which nothing is known yet")
    console = Console(stderr=as_json)
    with shared.scheduler(read_settings(), [job]) as scheduler:
        check(scheduler.source, customers.metadata, customers.SETTING)
        run, fresh = _run(scheduler, job, wanted, again=again, quiet=as_json)
        if as_json:
            typer.echo(shared.run_json(run))
        else:
            console.print(_said(run, fresh), highlight=False, soft_wrap=True)
            if top and run.state == "done" and run.scored:
                console.print(shared.top_table(job, scheduler.runs, wanted, top))
    raise typer.Exit(0 if run.state == "done" else 1)


def _run(scheduler: "Scheduler", job: "Job", as_of: datetime, *, again: bool, quiet: bool) -> tuple["Run", bool]:
    """The run as it stands in the end, and whether it was done here."""
    from cli import jobs as shared

    asked = scheduler.runs.ask(job.name, as_of, again=again)
    if asked.state == "done":
        return asked, False
    claimed = scheduler.runs.claim(job.name, scheduler.clock(), job.retries, as_of)
    if claimed is None:
        return scheduler.runs.get(job.name, as_of) or asked, False
    with shared.bar(job.name, quiet=quiet) as progress:
        return scheduler.work(job, claimed, progress), True


def _said(run: "Run", fresh: bool) -> str:
    from cli.jobs import shown

    title = f"{run.job} as of {shown(run.as_of)}"
    if run.state == "done":
        counts = f"{run.scored or 0:,} scored by version {run.version}, {run.problems or 0:,} without a score"
        when = (
            "" if fresh or run.finished_at is None else f", already at {shown(run.finished_at)} (--again does it anew)"
        )
        nobody = "" if run.scored or run.problems else f"\n{NOBODY}"
        return f"{title}: done{when}: {counts}{nobody}"
    if run.state == "running":
        until = "" if run.lease_until is None else f"; if that one is gone, ask again after {run.lease_until:%H:%M:%S}Z"
        return f"{title}: is being run by {run.worker}{until}"
    if not fresh:
        return f"{title}: waits, for another run of {run.job} is in progress"
    retry = "" if run.state == "failed" else f"; a scheduler tries it again at {shown(run.due_at)}"
    return f"{title}: [red]failed[/red]: {run.error}{retry}"
