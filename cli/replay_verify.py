"""`millrace replay --verify`: whether what was said live comes out the same again."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from app import topic_admin
from app.errors import ConfigurationError
from app.modes.replay.manners import be_modest
from app.modes.replay.plan import Plan, TopicRange
from app.modes.replay.score import load
from app.modes.replay.sources import TopicSource
from app.modes.replay.verify import Said, Verified, said_in_store, said_on_topic, verify
from app.registry import open_registry
from app.settings import Settings
from app.store import Store
from app.topics import PREDICTIONS

_LINE_EVERY = 100_000


async def check(settings: Settings, plan: Plan, against: str, eager: bool, console: Console, as_json: bool) -> int:
    """Check every agent of the plan and say what was found; the exit code."""
    if not isinstance(plan.source, TopicRange):
        raise ConfigurationError("--verify reads what was live, so it takes a topic, not --file or --sql")
    be_modest(eager)
    registry, source = open_registry(settings), TopicSource(settings, plan.source)
    found = []
    with tempfile.TemporaryDirectory(prefix="millrace-verify-") as directory:
        for chosen in plan.chosen:
            ready = load(chosen, registry)
            said = await _said(settings, chosen.agent, against)
            private = Path(directory) / chosen.agent
            found.append(await verify(ready, source, said, private, _lines(chosen.agent, console)))
    _say(found, console, as_json)
    return 1 if any(one.differing for one in found) else 0


async def _said(settings: Settings, agent: str, against: str) -> Said:
    if against == "store":
        return said_in_store(await asyncio.to_thread(Store.open, settings.database_url), agent)
    topic = (await topic_admin.describe(settings, [PREDICTIONS])).topics.get(PREDICTIONS.name)
    if topic is None:
        raise ConfigurationError(f"there is no topic {PREDICTIONS.name}: nothing was said here yet")
    return said_on_topic(settings.kafka or "", topic.partitions, agent)


def _lines(agent: str, console: Console) -> Callable[[int], None]:
    """Says now and then how many records have been recomputed."""
    done = 0

    def told(records: int) -> None:
        nonlocal done
        done += records
        if done // _LINE_EVERY > (done - records) // _LINE_EVERY:
            console.print(f"{agent}: {done:,} records recomputed", highlight=False)

    return told


def _say(found: list[Verified], console: Console, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    table = Table("agent", "version", title="Said live, and recomputed", title_justify="left")
    for column in ("the same", "different", "not said live", "of other versions"):
        table.add_column(column, justify="right")
    for one in found:
        others = ", ".join(f"{version}: {n:,}" for version, n in sorted(one.others.items()))
        table.add_row(one.agent, one.version, f"{one.same:,}", f"{one.differing:,}", f"{one.unsaid:,}", others or "0")
    console.print(table)
    for one in found:
        for each in one.differences[:20]:
            now = "no answer" if each.value is None else f"{each.value!r}"
            place = f"{each.topic}/{each.partition}@{each.offset}"
            console.print(f"{one.agent} {place}: live {each.live!r}, now {now}", highlight=False)
