"""`millrace up`: the whole system on this machine, every part in a process of its own, kept alive."""

import gc
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from app.settings import Settings, read_settings
from app.supervisor import Supervisor, Unit


def up(
    agents: Annotated[
        list[str] | None, typer.Option("--agent", help="only these agents (repeatable); default: all")
    ] = None,
    together: Annotated[bool, typer.Option(help="all agents in one process: less memory, no isolation")] = False,
) -> None:
    """Run the whole system here: embedded Kafka and Redis where none is set, agents, decision worker, gateway.

    A part that dies is started again. Ctrl-C stops everything. Logs: <data dir>/logs/.

    Examples:

      millrace up

      MILLRACE_KAFKA=broker:9092 millrace up --agent duration --agent cost
    """
    with prepared(read_settings()) as settings:
        typer.echo(
            f"gateway on http://{settings.host}:{settings.port}, logs in {settings.data_dir / 'logs'}, Ctrl-C stops"
        )
        raise typer.Exit(supervisor(settings).run(system(settings, agents, together=together)))


@contextmanager
def prepared(settings: Settings) -> Iterator[Settings]:
    """What must be there before the parts start: services, topics, and the heavy imports they will share."""
    import asyncio

    from app import agent, embedded, topic_admin
    from app.topics import state_topic

    with embedded.services(settings) as resolved:
        states = [state_topic(name) for name in agent.names() if agent.find(name).state]
        asyncio.run(topic_admin.ensure(resolved, states))
        _preload()
        yield resolved


def supervisor(settings: Settings) -> Supervisor:
    return Supervisor(settings.data_dir / "logs")


def system(settings: Settings, names: Sequence[str] | None = None, *, together: bool = False) -> list[Unit]:
    """The parts of the system: gateway, decision worker, and one worker per agent (or one for all of them)."""
    from app import agent

    chosen = list(names or agent.names())
    for name in chosen:
        agent.find(name)
    groups = [chosen] if together else [[name] for name in chosen]
    return [
        Unit("gateway", partial(_gateway, settings)),
        Unit("decision", partial(_decision, settings)),
        *(Unit(group[0] if len(group) == 1 else "agents", partial(_agents, group, settings)) for group in groups),
    ]


def _preload() -> None:
    """Import once what every part needs; forked children share it."""
    for heavy in ("lightgbm", "app.modes.stream", "decision.worker", "gateway.main"):
        importlib.import_module(heavy)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages the children share


def _gateway(settings: Settings) -> None:
    import uvloop

    from gateway.main import serve

    uvloop.run(serve(settings))


def _decision(settings: Settings) -> None:
    import uvloop

    from decision import worker

    uvloop.run(worker.run(settings))


def _agents(names: Sequence[str], settings: Settings) -> None:
    import uvloop

    from app.modes import stream

    uvloop.run(stream.run(names, settings))
