"""`millrace replay`: a range of the past through the same score function, and what another version would have said."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from app.modes.replay.plan import Plan
    from app.settings import Settings
    from cli.replay_job import Manner

SOURCE, TARGET, RUN, ASK = "Source", "Target", "Run", "Questions"


class To(StrEnum):
    """Where the answers go."""

    store = "store"
    topic = "topic"
    parquet = "parquet"


class Live(StrEnum):
    """Where what was said live is read."""

    topic = "topic"
    store = "store"


Text = str | None
Agents = Annotated[Text, typer.Option(help="which agents, NAME[,NAME...]")]
Version = Annotated[Text, typer.Option(help="of the model, or an alias; default: the champion")]
Topic = Annotated[Text, typer.Option(help="default: the agent's own topics", rich_help_panel=SOURCE)]
Since = Annotated[Text, typer.Option("--from", help="event time: 2023-02-01T00:00Z", rich_help_panel=SOURCE)]
Until = Annotated[Text, typer.Option("--to", help="event time, excluded", rich_help_panel=SOURCE)]
Offsets = Annotated[
    Text,
    typer.Option(
        help="FIRST:END of every partition, or PARTITION=FIRST:END,...; not for fraud", rich_help_panel=SOURCE
    ),
]
File = Annotated[
    Path | None,
    typer.Option(help="Parquet or CSV, columns as the event's fields; or a month of the TLC", rich_help_panel=SOURCE),
]
Sql = Annotated[Text, typer.Option(help="a query; columns as of --file", rich_help_panel=SOURCE)]
SqlUrl = Annotated[
    Text,
    typer.Option(
        help="where it is asked; default: the store", envvar="MILLRACE_REPLAY_SQL_URL", rich_help_panel=SOURCE
    ),
]
Events = Annotated[
    Text, typer.Option(help="the event a row is, where no column `type` says it", rich_help_panel=SOURCE)
]
Target = Annotated[To, typer.Option(help="where the answers go", rich_help_panel=TARGET)]
Into = Annotated[Path | None, typer.Option(help="the directory of --target parquet", rich_help_panel=TARGET)]
Name = Annotated[Text, typer.Option(help="its name; that of a run there is continues it", rich_help_panel=RUN)]
Resume = Annotated[bool, typer.Option("--resume", help="continue the latest run", rich_help_panel=RUN)]
Rate = Annotated[float | None, typer.Option(min=0.1, help="records a second at most", rich_help_panel=RUN)]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=64, help="processes; default: 1, with --eager one per core", rich_help_panel=RUN),
]
Eager = Annotated[
    bool, typer.Option("--eager", help="nothing live runs here: take the processor from others", rich_help_panel=RUN)
]
Verify = Annotated[
    bool, typer.Option("--verify", help="recompute what was said live; exit code 1 if any differs", rich_help_panel=ASK)
]
Against = Annotated[Live, typer.Option(help="where --verify reads what was said live", rich_help_panel=ASK)]
Diff = Annotated[
    Text, typer.Option(help="what this version would have changed", metavar="VERSION", rich_help_panel=ASK)
]
Backfill = Annotated[
    bool, typer.Option("--backfill", help="a new agent's answers beside what was decided", rich_help_panel=ASK)
]
Json = Annotated[bool, typer.Option("--json", help="for a script")]
Join = Annotated[int | None, typer.Option(hidden=True)]


def replay(
    agent: Agents = None,
    version: Version = None,
    topic: Topic = None,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    file: File = None,
    sql: Sql = None,
    sql_url: SqlUrl = None,
    events: Events = None,
    target: Target = To.store,
    into: Into = None,
    run: Name = None,
    resume: Resume = False,
    rate: Rate = None,
    workers: Workers = None,
    eager: Eager = False,
    verify: Verify = False,
    against: Against = Live.topic,
    diff: Diff = None,
    backfill: Backfill = False,
    as_json: Json = False,
    join: Join = None,
) -> None:
    """Put a range of the past through an agent: the same functions as live, so the same bits. Nobody is told.

    Reads up to where the log ended when it began; continues after a kill -9 with nothing missing and nothing twice. An agent
    whose state spans several topics (fraud) reads them in the order in which it had read them live.

    Examples:

      millrace replay --agent duration --from 2023-02-01T00:00Z --to 2023-02-08T00:00Z

      millrace replay --agent duration,cost --verify

      millrace replay --agent cost --file rides.parquet --target parquet --into answers --workers 2

      millrace replay --agent fraud --diff 2

      millrace replay --resume
    """
    from rich.console import Console

    from app.modes.replay.plan import Question
    from app.settings import read_settings
    from cli.replay_asked import Asked, make_plan
    from cli.replay_job import Manner

    settings, console, manner = read_settings(), Console(stderr=as_json), Manner(rate, workers, sql_url, join, eager)
    source = Asked(topic, since, until, offsets, file, sql, events)
    if verify:
        raise typer.Exit(
            _verify(settings, make_plan(settings, agent, version, source), against, manner, console, as_json)
        )
    if diff is not None and backfill:
        raise typer.BadParameter("one question at a time: --diff or --backfill")

    def plan() -> "Plan":
        question: Question | None = "diff" if diff is not None else "backfill" if backfill else None
        return make_plan(settings, agent, diff or version, source, target.value, into, question)

    _replay(settings, plan, run, resume, manner, console, as_json)


def _replay(
    settings: "Settings",
    plan: "Callable[[], Plan]",
    run: str | None,
    resume: bool,
    manner: "Manner",
    console: "Console",
    as_json: bool,
) -> None:
    """Begin the run, or go on with it, to its end; then answer what was asked of it."""
    from app import embedded
    from app.sql.replays import Replays
    from cli.replay_job import choose, to_the_end
    from cli.replay_report import on_cards, tell

    replays = Replays.open(settings.database_url)
    try:
        book, settled = choose(replays, run, resume, plan)
        asks = settled.question is not None and any(on_cards(each.agent) for each in settled.chosen)
        attached = embedded.attached(settings, ["kafka"] if settled.needs_kafka or asks else [])
        standing = asyncio.run(to_the_end(book, settled, attached, manner, console))
        if manner.parent is None:
            tell(book, settled, standing, attached, console, as_json)
    finally:
        replays.close()


def _verify(
    settings: "Settings", plan: "Plan", against: Live, manner: "Manner", console: "Console", as_json: bool
) -> int:
    from app import embedded
    from cli.replay_verify import check

    return asyncio.run(
        check(embedded.attached(settings, ["kafka"]), plan, against.value, manner.eager, console, as_json)
    )
