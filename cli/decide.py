"""`millrace decide`: the decision workers."""

from typing import Annotated

import typer


def decide(
    cards: Annotated[bool, typer.Option("--cards", help="card transactions, instead of rides and uploads")] = False,
) -> None:
    """Join predictions by ride and upload, decide by the policy, and tell the user; with --cards, decide card transactions.

    They are two consumer groups, each of as many workers as there are partitions at most. State lives in the database, so one
    may be killed at any time.

    Examples:

      millrace decide

      millrace decide --cards

      MILLRACE_KAFKA=broker:9092 MILLRACE_DATABASE=postgresql+psycopg://... millrace decide
    """
    import uvloop

    from app.embedded import attached
    from app.settings import read_settings
    from decision import card_worker, worker

    run, what = (card_worker.run, "card transactions") if cards else (worker.run, "rides and uploads")
    settings = attached(read_settings())
    typer.echo(f"deciding {what}, reading from {settings.kafka}; Ctrl-C ends", err=True)
    uvloop.run(run(settings))
