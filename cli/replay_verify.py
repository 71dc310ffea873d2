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
from app.modes.replay.comparing import Verified
from app.modes.replay.manners import be_modest
from app.modes.replay.plan import Plan, TopicRange
from app.modes.replay.retrace import retrace
from app.modes.replay.score import load
from app.modes.replay.sources import TopicSource, late_beginnings
from app.modes.replay.verify import Said, said_in_store, said_on_topic, verify
from app.modes.stream import Ready
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
    found = [await _check(settings, load(chosen, registry), source, against, console) for chosen in plan.chosen]
    _say(found, console, as_json)
    return 1 if any(one.differing for one in found) else 0


async def _check(settings: Settings, ready: Ready, source: TopicSource, against: str, console: Console) -> Verified:
    name = ready.agent.name
    for line in late_beginnings(ready.agent, await source.spans(ready.agent)):
        console.print(line, highlight=False, soft_wrap=True)
    if source.mixes(ready.agent):
        if against == "store":
            raise ConfigurationError(
                f"--against: what {name} says rests on several topics, and in which order it had read them only its "
                "predictions on the log say: leave --against out"
            )
        return await retrace(ready, source, settings.kafka or "", _lines(name, console))
    said = await _said(settings, name, against)
    with tempfile.TemporaryDirectory(prefix="millrace-verify-") as directory:
        return await verify(ready, source, said, Path(directory), _lines(name, console))


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
        if not one.same and not one.differing:
            console.print(
                f"{one.agent}: version {one.version} has said nothing live in this range, so nothing was compared",
                highlight=False,
            )
        if one.unplaced:
            console.print(
                f"{one.agent}: {one.unplaced:,} more do not say what had been read before them, and were not checked",
                highlight=False,
            )
        if one.astray.count:
            console.print(f"{one.agent}: {one.astray}", highlight=False)
        if one.unnumbered:
            console.print(
                f"{one.agent}: {one.unnumbered:,} of these do not say when they were entered into what its workers share: "
                "they were compared in the order of time, in which some may differ",
                highlight=False,
            )
        for each in one.differences[:20]:
            now = "no answer" if each.value is None else f"{each.value!r}"
            place = f"{each.topic}/{each.partition}@{each.offset}"
            console.print(f"{one.agent} {place}: live {each.live!r}, now {now}", highlight=False)
