"""What `millrace simulate` takes, in the order in which `--help` shows it."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

WHAT, TIME = "What is sent", "Event time"


class What(StrEnum):
    rides = "rides"
    uploads = "uploads"
    transactions = "transactions"
    all = "all"


class Via(StrEnum):
    http = "http"
    kafka = "kafka"


Chosen = Annotated[What, typer.Argument(help="all: rides and uploads")]
Rate = Annotated[
    float | None,
    typer.Option(min=0.001, help="new rides, uploads or transactions per second; default: 2", rich_help_panel=WHAT),
]
Count = Annotated[
    int | None, typer.Option(min=1, help="stop after so many rides, uploads or transactions", rich_help_panel=WHAT)
]
Seconds = Annotated[
    float | None,
    typer.Option("--for", "--seconds", min=0.1, help="begin none after so many seconds", rich_help_panel=WHAT),
]
Source = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="replay real ones: a TLC month (.parquet), the trending table or texts (.csv, .tsv, .txt), the fraud "
        "handbook's table",
        rich_help_panel=WHAT,
    ),
]
Users = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1_000_000,
        help="how many riders, uploaders, cards; default: 200, and 50,000 cards past the gateway",
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[int, typer.Option(help="the same seed makes the same rides and uploads", rich_help_panel=WHAT)]
Run = Annotated[
    str | None,
    typer.Option(help="names the run in every id; the same one again is a resend", rich_help_panel=WHAT),
]
Poison = Annotated[
    float,
    typer.Option(min=0, max=0.9, help="with --via kafka: the share of records that are bad", rich_help_panel=WHAT),
]
Customers = Annotated[
    bool,
    typer.Option(
        "--customers",
        help="fill MILLRACE_CUSTOMERS instead: --count customers, or --from a log like CDNOW's (.csv)",
        rich_help_panel=WHAT,
    ),
]
Speed = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="seconds of event time per second; default: 30; with --from as fast as it goes; for transactions, what "
        "leaves each card its two a day",
        rich_help_panel=TIME,
    ),
]
Start = Annotated[
    datetime | None, typer.Option(help="event time of the beginning (UTC); default: now", rich_help_panel=TIME)
]
Every = Annotated[
    float, typer.Option(min=1, help="seconds of event time between a car's positions", rich_help_panel=TIME)
]
By = Annotated[
    Via | None,
    typer.Option(
        help="kafka: past the gateway, straight onto the topics; default: http, and kafka from 200 transactions a second",
    ),
]
Lanes = Annotated[int, typer.Option(min=1, max=1000, help="requests in flight, at most")]
Processes = Annotated[
    int,
    typer.Option(
        min=1,
        max=64,
        help="made-up transactions straight to Kafka: share the rate between so many",
    ),
]
Report = Annotated[
    bool | None,
    typer.Option(
        help="wait for the decisions and report; default: when the run has an end; not for transactions",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="the report as one JSON object")]
