"""What `millrace replay` says at its end."""

import msgspec
import typer
from rich.console import Console

from app.modes.replay.book import Book, Standing
from app.modes.replay.plan import Plan
from app.settings import Settings


def tell(book: Book, plan: Plan, standing: Standing, settings: Settings, console: Console, as_json: bool) -> None:
    """How the run ended, and the answer to what was asked of it."""
    if as_json:
        typer.echo(msgspec.json.encode({"run": book.run, **standing._asdict()}))
        return
    console.print(
        f"run {book.run}: {standing.passed:,} records, {standing.predicted:,} predictions, {standing.failed:,} failed"
    )
