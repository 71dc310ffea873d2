"""`millrace topics`: the table of topics beside what the brokers have."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from app.settings import Settings, read_settings

if TYPE_CHECKING:
    from app.topics import Cluster, Topic


def topics(
    ensure: Annotated[bool, typer.Option("--ensure", help="create what is missing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
) -> None:
    """Show the table of topics beside what the brokers have; --ensure creates what is missing.

    A topic of the wrong shape is an error that says what to do about it.
    """
    from app import embedded, topic_admin
    from app.topics import TOPICS, missing

    settings = embedded.attached(read_settings(), ["kafka"])
    wanted = [*TOPICS, *_agents_own()]
    action = topic_admin.ensure(settings, wanted[len(TOPICS) :]) if ensure else topic_admin.describe(settings, wanted)
    cluster = asyncio.run(action)
    _say_json(wanted, cluster) if as_json else _say(wanted, cluster, settings)
    missing(wanted, cluster, settings)  # raises on one of the wrong shape


def _agents_own() -> list["Topic"]:
    from app import agent
    from app.topics import agent_topics

    own = (agent_topics(name, stateful=agent.find(name).state is not None) for name in agent.names())
    return [topic for topics in own for topic in topics]


def _say(wanted: list["Topic"], cluster: "Cluster", settings: Settings) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Topics on {settings.kafka}", title_justify="left")
    table.add_column("topic", no_wrap=True)
    for name in ("key", "kept"):
        table.add_column(name)
    table.add_column("partitions", justify="right")
    table.add_column("replicas", justify="right")
    for topic in wanted:
        kept = "the last of each key" if topic.cleanup == "compact" else _kept(topic.retention)
        found = cluster.topics.get(topic.name)
        shape = (str(found.partitions), str(found.replication)) if found else ("missing", "")
        table.add_row(topic.name, topic.key, kept, *shape)
    Console().print(table)


def _kept(retention: timedelta) -> str:
    return f"{retention.days} days" if retention.days else f"{retention.total_seconds() / 60:g} min"


def _say_json(wanted: list["Topic"], cluster: "Cluster") -> None:
    import msgspec

    rows = [
        {
            "topic": topic.name,
            "key": topic.key,
            "config": topic.configuration,
            "partitions": found.partitions if found else None,
            "replicas": found.replication if found else None,
        }
        for topic in wanted
        for found in [cluster.topics.get(topic.name)]
    ]
    typer.echo(msgspec.json.encode(rows))
