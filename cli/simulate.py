"""`millrace simulate`: people who ask for rides, publish videos and use their cards, made up or recorded."""

import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.settings import Settings
    from simulator.progress import RunProgress
    from simulator.report import Report
    from simulator.scenario import Scenario


class What(StrEnum):
    rides = "rides"
    uploads = "uploads"
    transactions = "transactions"
    all = "all"


class Via(StrEnum):
    http = "http"
    kafka = "kafka"


BY_GATEWAY_PER_S = 200.0
"""Transactions: up to so many go through the gateway, each user with a token; more go straight to Kafka."""

USERS, CARDS, MOST_LISTENERS = 200, 50_000, 5000


def simulate(
    what: Annotated[What, typer.Argument(help="rides, uploads, transactions; all: rides and uploads")] = What.all,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="new rides, uploads or transactions per second [default: 2]")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="seconds of event time per second [default: 30; for --from as fast as it goes; "
            "for transactions, what leaves each card its two a day]",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="stop after so many rides, uploads or transactions")] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", "--seconds", min=0.1, help="begin none after so many seconds")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="replay real ones: a TLC month (.parquet), the trending table or texts (.csv, .tsv, .txt), the fraud "
            "handbook's table",
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="how many riders, uploaders, cards [default: 200; 50,000 cards past the gateway]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="the same seed makes the same rides and uploads")] = 0,
    run: Annotated[str | None, typer.Option(help="names the run in every id; the same one again is a resend")] = None,
    start: Annotated[datetime | None, typer.Option(help="event time of the beginning (UTC) [default: now]")] = None,
    every: Annotated[float, typer.Option(min=1, help="seconds of event time between a car's positions")] = 20,
    url: Annotated[str | None, typer.Option(help="the gateway [default: the one of the settings]")] = None,
    via: Annotated[
        Via | None,
        typer.Option(
            help="kafka: past the gateway, straight onto the topics [default: http; kafka from 200 transactions a second]"
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="made-up transactions straight to Kafka: share the rate between so many")
    ] = 1,
    lanes: Annotated[int, typer.Option(min=1, max=1000, help="requests in flight, at most")] = 32,
    poison: Annotated[
        float, typer.Option(min=0, max=0.9, help="with --via kafka: the share of records that are bad")
    ] = 0,
    report: Annotated[
        bool | None,
        typer.Option(help="wait for the decisions and report [default: when the run has an end; not for transactions]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the report as one JSON object")] = False,
    customers: Annotated[
        bool,
        typer.Option(
            "--customers",
            help="fill MILLRACE_CUSTOMERS instead: --count customers, or --from a log like CDNOW's (.csv)",
        ),
    ] = False,
) -> None:
    """Send rides, uploads or card transactions to the running gateway, each user with a token of their own.

    Rides live their whole life: requested, started, positions on the way, completed with duration, fare and tip, or
    cancelled, or never heard of again. Uploads are harmless, spam, toxic or copied. Transactions are those of the Fraud
    Detection Handbook's model, frauds reported a week later. Event time runs --speed times as fast as the clock. A run
    with an end waits for its decisions and reports: what came, how fast, how far off.

    Examples:

      millrace simulate

      millrace simulate rides --rate 10 --speed 60 --for 120

      millrace simulate --from green_tripdata_2023-02.parquet

      millrace simulate --from green_tripdata_2023-02.parquet --speed 600 --count 1000

      millrace simulate uploads --from youtube_trending_2017.csv --rate 50 --json

      millrace simulate uploads --from davidson_hate.csv --via kafka

      millrace simulate --via kafka --rate 5000 --count 100000 --poison 0.1

      millrace simulate transactions --rate 65000 --for 60

      millrace simulate --customers
    """
    import uvloop

    from app.settings import read_settings
    from simulator.progress import RunProgress
    from simulator.report import show
    from simulator.scenario import Options, Scenario

    if customers:
        from cli.customers import fill

        return fill(source, count, seed, start, as_json=as_json)
    chosen, in_bulk = _way(what, source, rate, via, poison)
    if users and users > MOST_LISTENERS and not in_bulk:
        raise ConfigurationError(f"--users {users}: {MOST_LISTENERS} at most, but for made-up transactions --via kafka")
    if processes > 1 and not in_bulk:
        raise ConfigurationError("--processes is for made-up transactions straight to Kafka, without --poison")
    settings = read_settings()
    options = Options(
        run=run or f"{seed}-{int(time.time()):x}",
        start=(start or datetime.now(UTC)).replace(tzinfo=UTC),
        what=what.value,
        rate=rate,
        speed=speed,
        seed=seed,
        users=users or (CARDS if in_bulk else USERS),
        every=timedelta(seconds=every),
        count=count,
        seconds=seconds,
        source=source,
    )
    if in_bulk:
        from cli.surge import in_bulk as send

        return send(options, settings, processes, as_json=as_json)
    scenario = Scenario(options)
    ends = source is not None or count is not None or seconds is not None
    alike = what is not What.transactions  # of those, only what is held comes live
    wanted = report if report is not None else ends and alike and chosen is Via.http
    with RunProgress(lambda: scenario.total, quiet=as_json) as progress:
        try:
            found = uvloop.run(
                _go(scenario, settings, progress, chosen, url, lanes, poison, options.run if wanted else None)
            )
        except KeyboardInterrupt:
            found = None
    if found is None:
        return _tell(progress, scenario, as_json)
    typer.echo(found.to_json()) if as_json else show(found, Console())
    raise typer.Exit(0 if found.whole else 1)


def _way(what: What, source: Path | None, rate: float | None, via: Via | None, poison: float) -> tuple[Via, bool]:
    """Which way it goes, and whether as a surge of made-up transactions (`cli.surge`)."""
    made_up = what is What.transactions and source is None
    chosen = via or (Via.kafka if made_up and (rate or 0) > BY_GATEWAY_PER_S else Via.http)
    if poison and chosen is Via.http:
        raise ConfigurationError("--poison needs --via kafka: the gateway lets no bad record through")
    return chosen, made_up and chosen is Via.kafka and not poison


def gateway_url(settings: "Settings") -> str:
    """Where the gateway of these settings is to be reached from here."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104  # compared, not bound
    return f"http://{host}:{settings.port}"


async def _go(
    scenario: "Scenario",
    settings: "Settings",
    progress: "RunProgress",
    via: Via,
    url: str | None,
    lanes: int,
    poison: float,
    reported: str | None,
) -> "Report | None":
    """Run it; the report, where one is asked for under that run's name."""
    from app.tokens import read_secret
    from simulator import run
    from simulator.badges import Badges

    if via is Via.kafka:
        await _by_kafka(scenario, settings, progress, poison)
        return None
    badges, address = Badges(read_secret(settings)), url or gateway_url(settings)
    if reported is None:
        await run.by_http(scenario, address, badges, lanes=lanes, watch=progress.watch)
        return None
    return await run.replay(scenario, address, badges, run=reported, lanes=lanes, watch=progress.watch)


async def _by_kafka(scenario: "Scenario", settings: "Settings", progress: "RunProgress", poison: float) -> None:
    from app.bus import KafkaProducer
    from app.embedded import attached
    from simulator import run

    producer = KafkaProducer(attached(settings).kafka or "", "millrace-simulate")
    try:
        await run.by_kafka(scenario, producer, poison=poison, watch=progress.watch)
    finally:
        await producer.close()


def _tell(progress: "RunProgress", scenario: "Scenario", as_json: bool) -> None:
    """What was sent by a run nobody waited for."""
    from simulator.report import show_tally, tally_json

    if as_json:
        typer.echo(tally_json(progress.tally, progress.seconds))
    else:
        show_tally(progress.tally, progress.seconds, scenario.skipped, Console())
