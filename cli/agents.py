"""`millrace agents`: list the agents there are, and run some of them as workers."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="List the agents there are, and run them.")


@app.command("list")
def list_agents() -> None:
    """Every agent: what it consumes, what it answers."""
    from app.agent import find, names
    from app.modes.stream import window
    from app.settings import read_settings

    settings = read_settings()
    table = Table("agent", "consumes", "unit", "waits", "group", title="Agents", title_justify="left")
    for name in names():
        agent = find(name)
        consumes, waits_s = (
            ", ".join(event.__name__ for event in agent.consumes),
            window(agent, settings).total_seconds(),
        )
        table.add_row(name, consumes, agent.unit, f"{waits_s:g} s" if waits_s else "", f"millrace.{name}")
    Console().print(table)


@app.command("run")
def run_agents(
    names: Annotated[list[str], typer.Argument(help="agents to host in this process, or 'all'", metavar="NAME...")],
) -> None:
    """Run agents as one worker process, each its own consumer group.

    Start as many workers of an agent as there are partitions: they share its events.

    Examples:

      millrace agents run duration

      millrace agents run toxicity hate spam
    """
    import uvloop

    from app import agent
    from app.embedded import attached
    from app.modes import stream
    from app.settings import read_settings

    chosen = agent.names() if names == ["all"] else names
    for name in chosen:
        agent.find(name)  # a wrong name is an error now, not a dead worker later
    settings = attached(read_settings(), parts=("kafka",))
    typer.echo(f"{', '.join(chosen)}: reading from {settings.kafka}; Ctrl-C ends", err=True)
    uvloop.run(stream.run(chosen, settings))


@app.command()
def health(
    name: Annotated[str, typer.Argument(help="an agent, or one of the decision workers: 'decision', 'decision.cards'")],
) -> None:
    """Whether anybody serves this agent: exit code 0 if its consumer group has members, 1 if not, 2 if the broker cannot say.

    For the health checks of containers; a worker that is stuck leaves its group and exits.
    """
    import asyncio

    from app import declared  # not `app.agent`, which loads what runs models: this is called every few seconds
    from app.brokers import workers
    from app.embedded import attached
    from app.errors import ConfigurationError
    from app.settings import read_settings

    served = [*declared.names("agents"), "decision", "decision.cards"]
    if name not in served:
        raise ConfigurationError(f"nobody is called {name!r}; there are: {', '.join(served)}")
    settings = attached(read_settings(), parts=("kafka",))
    members = asyncio.run(workers(settings.kafka or "", f"millrace.{name}"))
    typer.echo(f"{name}: {members} worker{'' if members == 1 else 's'}")
    raise typer.Exit(0 if members else 1)
