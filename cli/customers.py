"""`millrace simulate --customers`: fills the database whose customers the scheduled jobs score."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from rich.console import Console

from app.clock import utc_now

DEFAULT_COUNT = 23_570
"""As many as CDNOW's log has."""

DEFAULT_PAST = timedelta(days=365)


def fill(source: Path | None, count: int | None, seed: int, start: datetime | None, *, as_json: bool) -> None:
    """Write customers into the database of the settings, and say how many."""
    from app.jobs.customers import open_customers
    from app.settings import read_settings
    from simulator.customers import People, load_log
    from simulator.customers import fill as make_up

    url, now, began = read_settings().customers_url, utc_now(), time.monotonic()
    engine = open_customers(url)
    with Console(stderr=True).status("writing customers") as status:

        def told(purchases: int) -> None:
            status.update(f"writing customers: {purchases:,} purchases")

        if source is not None:
            customers, purchases = load_log(engine, source, told)
        else:
            first = now - DEFAULT_PAST if start is None else start.replace(tzinfo=UTC)
            customers, purchases = make_up(engine, People(count or DEFAULT_COUNT, first, now, seed), told)
    engine.dispose()
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        typer.echo(json.dumps({"customers": customers, "purchases": purchases, "seconds": seconds}))
    else:
        typer.echo(f"{customers:,} customers with {purchases:,} purchases in {seconds} s; next: millrace score churn")
