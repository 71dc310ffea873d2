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

    table = Table("agent", "consumes", "unit", "group", title="Agents", title_justify="left")
    for name in names():
        agent = find(name)
        table.add_row(name, ", ".join(event.__name__ for event in agent.consumes), agent.unit, f"millrace.{name}")
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
    from app.modes import stream
    from app.settings import read_settings
    from cli.services import attached

    chosen = agent.names() if names == ["all"] else names
    for name in chosen:
        agent.find(name)  # a wrong name is an error now, not a dead worker later
    with attached(read_settings()) as settings:
        uvloop.run(stream.run(chosen, settings))
