"""What `millrace replay` takes, in the order in which `--help` shows it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

SOURCE, TARGET, RUN, ASK = "Source", "Target", "Run", "Questions"

LEAST_RATE = 0.001
"""Records a second: one in a quarter of an hour. Where workers share a rate, none goes slower."""


class To(StrEnum):
    """Where the answers go."""

    store = "store"
    topic = "topic"
    parquet = "parquet"


class Live(StrEnum):
    """Where what was said live is read."""

    topic = "topic"
    store = "store"


Text = str | None
Agents = Annotated[Text, typer.Option(help="which agents, NAME[,NAME...]")]
Version = Annotated[Text, typer.Option(help="of the model, or an alias; default: the champion")]
Topic = Annotated[Text, typer.Option(help="default: the agent's own topics", rich_help_panel=SOURCE)]
Since = Annotated[Text, typer.Option("--from", help="event time: 2023-02-01T00:00Z", rich_help_panel=SOURCE)]
Until = Annotated[Text, typer.Option("--to", help="event time, excluded", rich_help_panel=SOURCE)]
Offsets = Annotated[
    Text,
    typer.Option(
        help="FIRST:END of every partition, or PARTITION=FIRST:END,...; not for fraud", rich_help_panel=SOURCE
    ),
]
File = Annotated[
    Path | None,
    typer.Option(help="Parquet or CSV, columns as the event's fields; or a month of the TLC", rich_help_panel=SOURCE),
]
Sql = Annotated[Text, typer.Option(help="a query; columns as of --file", rich_help_panel=SOURCE)]
SqlUrl = Annotated[
    Text,
    typer.Option(
        help="where it is asked; default: the store", envvar="MILLRACE_REPLAY_SQL_URL", rich_help_panel=SOURCE
    ),
]
Events = Annotated[
    Text, typer.Option(help="the event a row is, where no column `type` says it", rich_help_panel=SOURCE)
]
Target = Annotated[To, typer.Option(help="where the answers go", rich_help_panel=TARGET)]
Into = Annotated[Path | None, typer.Option(help="the directory of --target parquet", rich_help_panel=TARGET)]
Name = Annotated[Text, typer.Option(help="its name; that of a run there is continues it", rich_help_panel=RUN)]
Resume = Annotated[bool, typer.Option("--resume", help="continue the latest run", rich_help_panel=RUN)]
List = Annotated[
    bool, typer.Option("--list", help="the runs there are, how far each is, how it goes on", rich_help_panel=RUN)
]
Rate = Annotated[
    float | None, typer.Option(min=LEAST_RATE, max=1e9, help="records a second at most", rich_help_panel=RUN)
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=64, help="processes; default: 1, with --eager one per core", rich_help_panel=RUN),
]
Eager = Annotated[
    bool, typer.Option("--eager", help="nothing live runs here: take the processor from others", rich_help_panel=RUN)
]
Verify = Annotated[
    bool, typer.Option("--verify", help="recompute what was said live; exit code 1 if any differs", rich_help_panel=ASK)
]
Against = Annotated[
    Live | None, typer.Option(help="where --verify reads what was said live; default: topic", rich_help_panel=ASK)
]
Diff = Annotated[
    Text, typer.Option(help="what this version would have changed", metavar="VERSION", rich_help_panel=ASK)
]
Backfill = Annotated[
    bool, typer.Option("--backfill", help="a new agent's answers beside what was decided", rich_help_panel=ASK)
]
Json = Annotated[bool, typer.Option("--json", help="for a script")]
Join = Annotated[int | None, typer.Option(hidden=True)]
