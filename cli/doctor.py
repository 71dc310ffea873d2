"""`millrace doctor`: what this machine has, what will be used, what is wrong; and of a running system, what it is doing."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from app.settings import Settings, read_settings

if TYPE_CHECKING:
    from cli.checks import Finding
    from cli.processes import Process
    from gateway.books import Group


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="fetch the jars of Apache Kafka now, not at the first start")
    ] = False,
) -> None:
    """Say what was found, what will be used and what is wrong; exit code 1 when something is.

    Of a running system also its addresses, consumer groups with their lag, and the memory of each process.

    Examples:

      millrace doctor

      millrace doctor --fetch      prepare this machine, so that the first start needs no network
    """
    from cli.checks import State, findings
    from cli.processes import processes

    settings = read_settings()
    if fetch:
        _fetch(settings)
    found = findings(settings)
    groups = _groups(settings)
    running = processes(settings)
    if as_json:
        _say_json(found, groups, running)
    else:
        _say(found, groups, running)
    raise typer.Exit(int(any(finding.state is State.WRONG for finding in found)))


def _fetch(settings: Settings) -> None:
    """Not being able to is no failure: the findings say what will be used instead."""
    from app import embedded
    from app.errors import ServiceUnavailable

    try:
        embedded.prepare(settings)
    except ServiceUnavailable as error:
        typer.echo(f"millrace: {error}", err=True)


def _groups(settings: Settings) -> list["Group"]:
    """None where no broker runs; a broker that is set but does not answer is among the findings already."""
    from app import embedded
    from app.errors import MillraceError

    try:
        kafka = embedded.attached(settings, ["kafka"]).kafka
        return asyncio.run(_ask(kafka)) if kafka else []
    except MillraceError:
        return []


async def _ask(kafka: str) -> list["Group"]:
    from gateway.books import Books

    books = Books(kafka)
    try:
        return await books.groups(await books.ends())
    finally:
        await books.close()


def _say_json(found: list["Finding"], groups: list["Group"], running: list["Process"]) -> None:
    import msgspec

    tables: dict[str, Sequence[Finding | Group | Process]] = {
        "findings": found,
        "groups": groups,
        "processes": running,
    }
    typer.echo(msgspec.json.encode({name: [row._asdict() for row in rows] for name, rows in tables.items()}))


def _say(found: list["Finding"], groups: list["Group"], running: list["Process"]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    colours = {"ok": "green", "note": "yellow", "wrong": "red"}
    table = Table.grid(padding=(0, 2))
    for finding in found:
        table.add_row(Text(finding.state, colours[finding.state]), finding.part, Text(finding.text))
    console.print(table)
    if groups:
        table = Table("consumer group", "members", "lag", title="Consumer groups", title_justify="left")
        for group in groups:
            table.add_row(group.name, str(group.members), f"{group.lag:,}")
        console.print(table)
    if running:
        table = Table("process", title="Memory", title_justify="left")
        for column in ("pid", "MB", "MB of its own", "restarts"):
            table.add_column(column, justify="right")
        for row in running:
            own = "" if row.own_mb is None else f"{row.own_mb:.0f}"
            table.add_row(row.name, str(row.pid), f"{row.rss_mb:.0f}", own, str(row.restarts))
        table.add_section()
        owned = sum(row.own_mb or 0.0 for row in running)
        table.add_row("all", "", "", f"{owned:.0f}", "")
        console.print(table)
