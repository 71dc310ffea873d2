"""`millrace replay`: a range of the past through the same score function, and what another version would have said."""

import asyncio
from typing import TYPE_CHECKING

import typer

from cli import replay_options as options

if TYPE_CHECKING:
    from rich.console import Console

    from app.settings import Settings
    from cli.replay_asked import Asked, Going
    from cli.replay_job import Manner


def replay(
    context: typer.Context,
    agent: options.Agents = None,
    version: options.Version = None,
    topic: options.Topic = None,
    since: options.Since = None,
    until: options.Until = None,
    offsets: options.Offsets = None,
    file: options.File = None,
    sql: options.Sql = None,
    sql_url: options.SqlUrl = None,
    events: options.Events = None,
    target: options.Target = options.To.store,
    into: options.Into = None,
    run: options.Name = None,
    resume: options.Resume = False,
    list_runs: options.List = False,
    rate: options.Rate = None,
    workers: options.Workers = None,
    eager: options.Eager = False,
    verify: options.Verify = False,
    against: options.Against = None,
    diff: options.Diff = None,
    backfill: options.Backfill = False,
    as_json: options.Json = False,
    join: options.Join = None,
) -> None:
    """Put a range of the past through an agent: the same functions as live, so the same bits. Nobody is told.

    Reads up to where the log ended when it began; continues after a kill -9 with nothing missing and nothing twice. An agent
    whose state spans several topics (fraud) reads them in the order in which it had read them live.

    Examples:

      millrace replay --agent duration --from 2023-02-01T00:00Z --to 2023-02-08T00:00Z

      millrace replay --agent duration,cost --verify

      millrace replay --agent cost --file rides.parquet --target parquet --into answers --workers 2

      millrace replay --agent fraud --diff 2

      millrace replay --list

      millrace replay --resume
    """
    if list_runs:
        _list(context, as_json)
        return
    from cli.replay_asked import Asked, Going
    from cli.replay_job import Manner

    read = (topic, since, until, offsets, file, sql, events)
    asked = Asked(agent, version, *read, target.value, into, diff, backfill)
    manner, going = Manner(rate, workers, sql_url, join, eager), Going(run, resume)
    if verify:
        raise typer.Exit(_verify(asked, going, manner, against or options.Live.topic, as_json))
    _replay(asked, going, manner, against, as_json)


def _list(context: typer.Context, as_json: bool) -> None:
    from app.sql.replays import Replays
    from cli.replay_asked import refuse
    from cli.replay_list import show

    sources = {each.opts[0]: context.get_parameter_source(each.name or "") for each in context.command.params}
    typed = {option: source is not None and source.name == "COMMANDLINE" for option, source in sources.items()}
    refuse("--list", typed | {"--list": None, "--json": None})
    settings, console = _surroundings(False)
    replays = Replays.open(settings.database_url)
    try:
        show(replays, console, as_json)
    finally:
        replays.close()


def _replay(asked: "Asked", going: "Going", manner: "Manner", against: options.Live | None, as_json: bool) -> None:
    """Begin the run, or go on with it, to its end; then answer what was asked of it."""
    from app import embedded
    from app.sql.replays import Replays
    from cli.replay_asked import make_plan, refuse
    from cli.replay_job import choose, to_the_end
    from cli.replay_report import on_cards, tell

    refuse("to replay", {"--against": against})
    settings, console = _surroundings(as_json)
    replays = Replays.open(settings.database_url)
    try:
        book, settled = choose(replays, going, lambda: make_plan(settings, asked))
        asks = settled.question is not None and any(on_cards(each.agent) for each in settled.chosen)
        attached = embedded.attached(settings, ["kafka"] if settled.needs_kafka or asks else [])
        standing = asyncio.run(to_the_end(book, settled, attached, manner, console))
        if manner.parent is None:
            tell(book, settled, standing, attached, console, as_json)
    finally:
        replays.close()


def _verify(asked: "Asked", going: "Going", manner: "Manner", against: options.Live, as_json: bool) -> int:
    from app import embedded
    from cli.replay_asked import make_plan, refuse
    from cli.replay_verify import check

    kept: dict[str, object] = {
        "--target": asked.target != "store",
        "--into": asked.into,
        "--run": going.run,
        "--resume": going.resume,
    }
    work: dict[str, object] = {
        "--rate": manner.rate,
        "--workers": manner.workers,
        "--diff": asked.diff,
        "--backfill": asked.backfill,
    }
    refuse("--verify", kept | work)
    settings, console = _surroundings(as_json)
    plan = make_plan(settings, asked)
    return asyncio.run(
        check(embedded.attached(settings, ["kafka"]), plan, against.value, manner.eager, console, as_json)
    )


def _surroundings(as_json: bool) -> "tuple[Settings, Console]":
    from rich.console import Console

    from app.settings import read_settings

    return read_settings(), Console(stderr=as_json)
