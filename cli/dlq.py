"""`millrace dlq`: what could not be handled, and why; and sending it back once the cause is gone."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from app.settings import Settings, read_settings

if TYPE_CHECKING:
    from app.modes.dlq import Box, Origin

_SHOWN_BYTES = 60


def dlq(
    requeue: Annotated[bool, typer.Option("--requeue", help="send the originals back to their topics")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask before sending back")] = False,
    everything: Annotated[bool, typer.Option("--all", help="also those that were sent back before")] = False,
    limit: Annotated[int, typer.Option(min=1, help="how many to show, the last ones")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="for a script: one object per line")] = False,
) -> None:
    """List dead letters, grouped by the record they are about; --requeue sends the records back.

    Examples:

      millrace dlq

      millrace dlq --requeue
    """
    from app import embedded
    from app.modes.dlq import look
    from app.topic_admin import describe
    from app.topics import DEAD_LETTERS

    settings = embedded.attached(read_settings(), ["kafka"])

    async def collect() -> "Box":
        found = (await describe(settings)).topics.get(DEAD_LETTERS.name)
        return await look(settings.kafka or "", found.partitions if found else 0, everything=everything)

    box = asyncio.run(collect())
    _say_json(box) if as_json else _say(box, limit)
    if requeue and box.origins:
        if not yes:
            typer.confirm(f"Send {len(box.origins)} records back to their topics?", abort=True)
        typer.echo(f"{asyncio.run(_send_back(settings, box))} records sent back")


async def _send_back(settings: Settings, box: "Box") -> int:
    from app.bus import KafkaProducer
    from app.modes.dlq import send_back

    producer = KafkaProducer(settings.kafka or "", "millrace-dlq")
    try:
        return await send_back(settings.kafka or "", producer, box)
    finally:
        await producer.close()


def _say(box: "Box", limit: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not box.origins:
        typer.echo("No dead letters.")
        return
    table = Table("record", "agent", "cause", "error", "value", title="Dead letters", title_justify="left")
    for origin in box.origins[-limit:]:
        place = f"{origin.topic}/{origin.partition}@{origin.offset}"
        for agent, (cause, error, _) in origin.said.items():
            table.add_row(place, agent, cause, escape(error), escape(_excerpt(origin)))
            place = ""
    Console().print(table)
    if (hidden := len(box.origins) - limit) > 0:
        typer.echo(f"and {hidden} before these (--limit shows more)")


def _excerpt(origin: "Origin") -> str:
    if origin.omitted_bytes:
        return f"(not here: {origin.omitted_bytes} bytes)"
    if origin.value is None:
        return "(no value)"
    text = ascii(origin.value[:_SHOWN_BYTES])[2:-1]
    return f"{text}… ({len(origin.value)} bytes)" if len(origin.value) > _SHOWN_BYTES else text


def _say_json(box: "Box") -> None:
    import msgspec

    for origin in box.origins:
        typer.echo(msgspec.json.encode(origin))  # bytes as base64: a dead letter need not be text
