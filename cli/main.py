"""`millrace`: the command line. Every command lives in a file of its own; this one only gathers them."""

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from app.errors import MillraceError
from cli import (
    agents,
    ask,
    bench,
    decide,
    demo,
    dlq,
    doctor,
    gateway,
    models,
    replay,
    schedule,
    score,
    simulate,
    token,
    topics,
    train,
    up,
    watch,
)

app = typer.Typer(
    name="millrace",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Trained models on a stream of events: one model definition, three ways to run it.

    **millrace demo** shows the whole of it; **millrace doctor** says what this machine has.
    Settings come from the environment (MILLRACE_KAFKA, MILLRACE_REDIS, ...); what is unset is embedded.""",
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"millrace {version('millrace')}")
        raise typer.Exit


@app.callback()
def millrace(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say which version this is, and end")
    ] = False,
) -> None:
    """The help is the application's own."""


RUN, WORK, LOOK = "Run", "Models", "Look"
app.command(rich_help_panel=RUN)(demo.demo)
app.command(rich_help_panel=RUN)(up.up)
app.add_typer(agents.app, name="agents", rich_help_panel=RUN)
app.command(rich_help_panel=RUN)(decide.decide)
app.command(rich_help_panel=RUN)(gateway.gateway)
app.command(rich_help_panel=RUN, epilog=simulate.EXAMPLES)(simulate.simulate)
app.add_typer(schedule.app, name="schedule", rich_help_panel=RUN)
app.command(rich_help_panel=LOOK)(ask.ask)
app.command(rich_help_panel=LOOK)(watch.watch)
app.command(rich_help_panel=LOOK)(token.token)
app.command(rich_help_panel=LOOK, context_settings={"allow_extra_args": True, "allow_interspersed_args": False})(
    bench.bench
)
app.command(rich_help_panel=LOOK)(doctor.doctor)
app.command(rich_help_panel=LOOK)(topics.topics)
app.command(rich_help_panel=LOOK)(dlq.dlq)
app.command(rich_help_panel=WORK)(replay.replay)
app.command(rich_help_panel=WORK)(score.score)
app.command(rich_help_panel=WORK)(train.train)
app.add_typer(models.app, name="models", rich_help_panel=WORK)


def run() -> None:
    """The console script: what we raise on purpose becomes one plain sentence and exit code 2."""
    # Where no log is set up: what the client warns of is said in that sentence.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        app()
    except MillraceError as error:
        Console(stderr=True).print(f"[red]millrace:[/red] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
