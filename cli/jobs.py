"""What `millrace score` and `millrace schedule` share: the parts a run needs, and how a run and its result are shown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from sqlalchemy import Engine, select

from app.errors import ConfigurationError, ServiceUnavailable
from app.sql.engine import engine_for, file_of
from app.sql.tables import check

if TYPE_CHECKING:
    from app.jobs.job import Job
    from app.modes.schedule import Scheduler
    from app.settings import Settings
    from app.sql.runs import Run, Runs


@contextmanager
def scheduler(settings: "Settings", jobs: Sequence["Job"]) -> Iterator["Scheduler"]:
    """A scheduler for these jobs on the databases of the settings. In a database that was named it creates nothing."""
    from app.jobs.customers import open_customers
    from app.modes.schedule import Scheduler
    from app.registry import open_registry
    from app.sql.runs import Runs

    embedded = settings.customers is None
    source = open_customers(settings.customers_url) if embedded else _named(settings.customers_url)
    runs = Runs.open(settings.database_url)
    try:
        yield Scheduler(jobs, runs, source, open_registry(settings))
    finally:
        source.dispose()
        runs.close()


def _named(url: str) -> Engine:
    """A source that was named, which is only read.

    Raises `ConfigurationError` for one that is not there or has not the tables; one that is away may come back.
    """
    from app.jobs.customers import SETTING, metadata

    engine = engine_for(url, SETTING)
    path = file_of(engine.url)
    if path is not None and not path.is_file():  # which SQLite would create
        raise ConfigurationError(f"{SETTING}: there is no file {path}")
    with suppress(ServiceUnavailable):
        check(engine, metadata, SETTING)
    return engine


@contextmanager
def bar(name: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, as `app.modes.scheduling.job_run` wants to be given one."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task(name, total=None)
        yield lambda reached, total: progress.update(task, completed=reached, total=total)


def instant(text: str, option: str) -> datetime:
    """An ISO 8601 time with its zone, in UTC. Raises `ConfigurationError` naming the option."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {text}: an ISO 8601 time is wanted, such as 2026-11-01T00:00Z") from error
    if parsed.tzinfo is None:
        raise ConfigurationError(
            f"{option} {text}: say in which zone, as in {parsed.isoformat()}Z or {parsed.isoformat()}+01:00"
        )
    try:
        return parsed.astimezone(UTC)
    except OverflowError as error:
        raise ConfigurationError(f"{option} {text}: lies beyond the calendar") from error


def runs_table(found: Sequence["Run"], title: str) -> Table:
    """Runs as a person reads them, newest first."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("job", "as of", "state", "tries", "scored", "not", "took"):
        table.add_column(name, justify="right" if name in {"tries", "scored", "not", "took"} else "left", no_wrap=True)
    table.add_column("note")
    for run in found:
        table.add_row(*_cells(run))
    return table


def run_json(run: "Run") -> bytes:
    return msgspec.json.encode(run)


def top_table(job: "Job", runs: "Runs", as_of: datetime, count: int) -> Table:
    """The first subjects of a run by the job's rank, with why, and the offer where the job makes offers."""
    scores, *others = job.load
    offers = next((table for table in others if "offer" in table.c), None)
    ranked = job.rank != "value"
    table = Table(title=f"{job.name} as of {shown(as_of)}, by {job.rank}", title_justify="left")
    for name in (
        "subject",
        job.unit,
        *([job.rank] if ranked else []),
        *(["offer"] if offers is not None else []),
        "because",
    ):
        table.add_column(name, justify="right" if name in {job.unit, job.rank} else "left")
    picked: list[Any] = [scores.c.subject_id, scores.c.value, scores.c[job.rank].label("rank"), scores.c.reasons]
    origin: Any = scores
    if offers is not None:
        same = (offers.c.as_of == scores.c.as_of) & (offers.c.subject_id == scores.c.subject_id)
        origin = scores.outerjoin(offers, same)
        picked.append(offers.c.offer)
    query = select(*picked).select_from(origin).where(scores.c.as_of == as_of).order_by(scores.c[job.rank].desc())
    with runs.connected() as connection:
        for subject, value, rank, reasons, *offer in connection.execute(query.limit(count)):
            said = "; ".join(f"{_sign(reason)} {reason['words']}" for reason in msgspec.json.decode(reasons))
            table.add_row(
                subject, f"{value:.2f}", *([f"{rank:,.2f}"] if ranked else []), *(each or "–" for each in offer), said
            )
    return table


def _sign(reason: Mapping[str, Any]) -> str:
    """Whether a reason raises the score."""
    return "+" if reason["log_odds"] > 0 else "−"


def shown(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def _cells(run: "Run") -> tuple[str, ...]:
    took = (
        ""
        if not (run.started_at and run.finished_at)
        else f"{(run.finished_at - run.started_at).total_seconds():.1f} s"
    )
    note = run.error or ("" if run.scheduled else "by hand")
    if run.state == "waiting":
        note = f"due {shown(run.due_at)}" + (f"; {run.error}" if run.error else "")
    counts = ("" if count is None else f"{count:,}" for count in (run.scored, run.problems))
    return (run.job, shown(run.as_of), run.state, str(run.attempt), *counts, took, note)
