"""What `millrace replay` does once it knows what is asked: begins or continues a run, and works on it."""

import asyncio
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from agents._places import locate
from app import topic_admin
from app.agent import find
from app.bus import KafkaProducer
from app.errors import ConfigurationError, MillraceError
from app.events import AnyEvent, RideRequested
from app.modes.consuming.lifecycle import settle
from app.modes.replay.book import Book, Standing, unfinished
from app.modes.replay.files import RowSource, open_table
from app.modes.replay.manners import Pace, be_modest
from app.modes.replay.plan import Plan, Rows, TopicRange
from app.modes.replay.run import Worker, cut
from app.modes.replay.score import load
from app.modes.replay.sources import SLICE_RECORDS, Source, TopicSource, late_beginnings
from app.modes.replay.targets import ParquetTarget, StoreTarget, Target, TopicTarget
from app.registry import open_registry
from app.settings import Settings
from app.sql.replays import Replays
from app.topics import REPLAYED
from cli.replay_asked import Going, NothingAsked, refuse
from cli.replay_options import LEAST_RATE
from cli.replay_progress import shown
from cli.replay_trips import TRIPS, TripTable

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
_SLICE_S = 0.5  # of work at a limited rate, so that the bar moves and a kill costs little
_WORTH_A_PROCESS = 500_000  # records: it takes 2 s to start, and some 6 s for so many


@dataclass(frozen=True)
class Manner:
    """How a run is worked on; it changes nothing of what comes out.

    Attributes:
        workers: how many processes; `None`: see `processes`.
        sql_url: where a query is asked; the store by default.
        parent: the process that started this one to help.
        eager: do not yield the processor to others.
    """

    rate: float | None = None
    workers: int | None = None
    sql_url: str | None = None
    parent: int | None = None
    eager: bool = False


def choose(replays: Replays, going: Going, plan: Callable[[], Plan]) -> tuple[Book, Plan]:
    """The run to go on with, or one to begin.

    Raises `ConfigurationError` when a run of that name does something else than what is asked now.
    """
    run = going.run
    if run is not None and not _NAME.match(run):
        raise ConfigurationError(f"--run {run}: a name has up to 64 letters, digits, and _ . -")
    if going.resume:
        refuse("--resume, which means the latest run", {"--run": run})
        if (run := unfinished(replays)) is None:
            raise ConfigurationError("--resume: there is no run that was begun and not finished")
    book = Book(replays, run) if run is not None else None
    begun = book.plan() if book is not None else None
    if book is not None and begun is not None:
        try:
            asked = plan()
        except NothingAsked:
            return book, begun
        if asked != begun:
            raise ConfigurationError(
                f"run {book.run} was begun otherwise: go on with --run {book.run} alone, or name another"
            )
        return book, begun
    try:
        fresh = plan()
    except NothingAsked as error:
        if run is None:
            raise
        raise ConfigurationError(f"--run {run}: there is no such run to go on with; --agent begins one") from error
    return book or Book(replays, name_run(fresh)), fresh


def name_run(plan: Plan) -> str:
    """A name for a run that was given none."""
    who = "-".join(chosen.agent for chosen in plan.chosen)[:32]
    return f"{who}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def open_source(plan: Plan, settings: Settings, manner: Manner) -> Source:
    """What the plan reads, in slices that suit the rate."""
    most = SLICE_RECORDS if manner.rate is None else max(1, min(SLICE_RECORDS, round(manner.rate * _SLICE_S)))
    if isinstance(plan.source, TopicRange):
        return TopicSource(settings, plan.source, most)
    rows = plan.source
    table = (
        TripTable(Path(rows.name)) if rows.kind == TRIPS else open_table(rows, manner.sql_url or settings.database_url)
    )
    return RowSource(table, _label(rows), rows.events, most)


async def to_the_end(book: Book, plan: Plan, settings: Settings, manner: Manner, console: Console) -> Standing:
    """Begin the run unless it was begun, and work on it until it is done.

    It is written down when its models, its source and its target have proven good: raises what is wrong with them.
    """
    be_modest(manner.eager)
    registry, source = open_registry(settings), open_source(plan, settings, manner)
    ready = {chosen.agent: load(chosen, registry) for chosen in plan.chosen}
    fresh = await asyncio.to_thread(book.plan) is None
    async with _target(book, plan, settings, fresh=fresh) as target:
        if fresh:
            await _begin(book, plan, source, console)
        count = processes(manner, await asyncio.to_thread(book.standing))
        rate = None if manner.rate is None else max(manner.rate / count, LEAST_RATE)
        worker = Worker(book, source, ready, target, settings.data_dir / "replays" / book.run, Pace(rate))
        settle()
        try:
            with _helped(count - 1, book.run, manner, rate):
                await shown(worker.run(), book, manner.parent, console)
        except (asyncio.CancelledError, MillraceError):
            if manner.parent is None:
                console.print(f"stopped; go on with: millrace replay --run {book.run}", highlight=False, soft_wrap=True)
            raise
    return await asyncio.to_thread(book.standing)


async def _begin(book: Book, plan: Plan, source: Source, console: Console) -> None:
    cuts = await cut(plan, source)
    await asyncio.to_thread(book.begin, plan, cuts)
    for agent in {each.chosen.agent: find(each.chosen.agent) for each in cuts}.values():
        for line in late_beginnings(agent, [each.span for each in cuts if each.chosen.agent == agent.name]):
            console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def _helped(count: int, run: str, manner: Manner, rate: float | None) -> Iterator[None]:
    """So many other processes work on the run, too. They end with it; when this one fails, at once."""
    others = [_another(run, manner, rate) for _ in range(count)]
    patience_s = 0.1
    try:
        yield
        patience_s = 5.0
    finally:
        for other in others:
            with suppress(subprocess.TimeoutExpired):
                other.wait(patience_s)
            other.terminate()
            other.wait()


def pickup_zones(events: Sequence[AnyEvent]) -> list[int | None]:
    """Where each ride begins, a TLC zone; `None` outside the city, and for what is no request."""
    asked = [row for row, event in enumerate(events) if isinstance(event, RideRequested)]
    zones: list[int | None] = [None] * len(events)
    places = [event.pickup for event in events if isinstance(event, RideRequested)]
    for row, zone in zip(asked, locate(places).zone.tolist() if places else [], strict=True):
        zones[row] = zone or None
    return zones


@asynccontextmanager
async def _target(book: Book, plan: Plan, settings: Settings, *, fresh: bool) -> AsyncIterator[Target]:
    """Where the answers go. Raises what is wrong with it."""
    if plan.target == "store":
        yield StoreTarget(book, pickup_zones if plan.question else None)
    elif plan.target == "parquet":
        yield ParquetTarget(book, Path(plan.directory or "."), fresh=fresh)
    else:
        cluster = await topic_admin.ensure(settings, [REPLAYED])
        producer = KafkaProducer(settings.kafka or "", "millrace-replay")
        try:
            yield TopicTarget(book, producer, settings.kafka or "", cluster.topics[REPLAYED.name].partitions)
        finally:
            await producer.close()


def processes(manner: Manner, standing: Standing) -> int:
    """How many to work with: as asked for, or one, which leaves the other cores to whatever is live.

    Where nothing live runs, as many as there are cores, but no more than there are lanes, and than the rest of the range is worth.
    """
    if manner.workers is not None:
        return manner.workers
    if not manner.eager or manner.rate is not None:
        return 1
    worth = (standing.size - standing.passed) // _WORTH_A_PROCESS
    return max(1, min(os.cpu_count() or 1, standing.lanes, worth))


def _another(run: str, manner: Manner, rate: float | None) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "cli", "replay", "--run", run, "--join", str(os.getpid()), "--workers", "1"]
    command += ["--eager"] if manner.eager else []
    if rate is not None:
        command += ["--rate", str(rate)]
    environment = dict(os.environ)
    if manner.sql_url is not None:
        environment["MILLRACE_REPLAY_SQL_URL"] = manner.sql_url  # not among the arguments: it may hold a password
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _label(rows: Rows) -> str:
    return "sql" if rows.kind == "sql" else Path(rows.name).name
