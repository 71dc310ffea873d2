"""`millrace up`: the whole system on this machine, every part in a process of its own, kept alive."""

import gc
import importlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from app.settings import Settings, read_settings
from app.supervisor import Supervisor, Unit
from cli.listening import check_address


def up(
    agents: Annotated[
        list[str] | None, typer.Option("--agent", help="only these agents (repeatable); default: all")
    ] = None,
    apart: Annotated[bool, typer.Option("--apart", help="each agent in a process of its own")] = False,
) -> None:
    """Run the whole system here: embedded Kafka and Redis where none is set, agents, decision worker, gateway.

    Agents that read the same topic share a process, which suits a machine with few cores; --apart isolates them, as in
    service. A part that dies is started again. Ctrl-C stops everything. Logs: logs/ in the data directory.

    Examples:

      millrace up

      MILLRACE_KAFKA=broker:9092 millrace up --agent duration --agent cost
    """
    from app import agent

    for name in agents or ():
        agent.find(name)  # a wrong name is an error before anything is started
    with prepared(read_settings()) as settings:
        typer.echo(
            f"gateway on http://{settings.host}:{settings.port}, logs in {settings.data_dir / 'logs'}, Ctrl-C stops"
        )
        raise typer.Exit(supervisor(settings).run(system(settings, agents, apart=apart)))


@contextmanager
def prepared(settings: Settings) -> Iterator[Settings]:
    """What must be there before the parts start: services, topics, and the heavy imports they will share."""
    import asyncio

    from app import agent, embedded, topic_admin
    from app.services.process import free_port
    from app.topics import agent_topics

    check_address(settings)
    typer.echo("starting Kafka, Redis and the models: some ten seconds", err=True)
    if settings.port == 0:  # the view, the simulator and whoever reads the notice have to know it
        settings = settings.model_copy(update={"port": free_port()})
    with embedded.services(settings) as resolved:
        own = (agent_topics(name, stateful=agent.find(name).state is not None) for name in agent.names())
        asyncio.run(topic_admin.ensure(resolved, [topic for topics in own for topic in topics]))
        _preload()
        yield resolved


def supervisor(settings: Settings) -> Supervisor:
    return Supervisor(settings.data_dir / "logs")


def system(settings: Settings, names: Sequence[str] | None = None, *, apart: bool = False) -> list[Unit]:
    """The parts of the system: gateway, decision workers, workers for the agents by kind of event or each apart, scheduler."""
    from app import agent

    chosen = [agent.find(name) for name in names or agent.names()]
    cards = any(each.consumes[0].kind == "transaction" for each in chosen)
    hosted = defaultdict(list)
    for each in chosen:
        hosted[each.name if apart else f"{each.consumes[0].kind} agents"].append(each.name)
    return [
        Unit("gateway", partial(_gateway, settings)),
        Unit("decision", partial(_decision, settings)),
        *([Unit("card decision", partial(_card_decision, settings))] if cards else []),
        *(Unit(name, partial(_agents, members, settings)) for name, members in hosted.items()),
        Unit("schedule", partial(_schedule, settings)),
    ]


def _preload() -> None:
    """Import once what every part needs; forked children share it."""
    for heavy in ("lightgbm", "app.modes.stream", "decision.worker", "decision.card_worker", "gateway.main"):
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


def _card_decision(settings: Settings) -> None:
    import uvloop

    from decision import card_worker

    uvloop.run(card_worker.run(settings))


def _schedule(settings: Settings) -> None:
    from app.jobs import job
    from cli import schedule

    schedule.serve(settings, [job.find(name) for name in job.names()])


def _agents(names: Sequence[str], settings: Settings) -> None:
    import uvloop

    from app.modes import stream

    uvloop.run(stream.run(names, settings))
