"""`millrace simulate`: people who ask for rides, publish videos and use their cards, made up or recorded."""

import re
import time
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.console import Console

from app.clock import utc_now
from app.errors import ConfigurationError
from cli import simulate_options as take
from cli.options import Url, gateway_url
from cli.simulate_options import Via, What

if TYPE_CHECKING:
    from app.settings import Settings
    from simulator.progress import RunProgress
    from simulator.report import Report
    from simulator.scenario import Options, Scenario

BY_GATEWAY_PER_S = 200.0
"""Transactions: up to so many go through the gateway, each user with a token; more go straight to Kafka."""

USERS, CARDS, MOST_LISTENERS = 200, 50_000, 5000

_RUN = re.compile(r"[A-Za-z0-9_.:-]{1,32}")
"""What every id may hold, and half as much of it: the ids have 64 characters (`app.events`)."""

EXAMPLES = """Examples:

  millrace simulate

  millrace simulate rides --rate 10 --speed 60 --for 120

  millrace simulate --from green_tripdata_2023-02.parquet

  millrace simulate --from green_tripdata_2023-02.parquet --speed 600 --count 1000

  millrace simulate uploads --from youtube_trending_2017.csv --rate 50 --json

  millrace simulate uploads --from davidson_hate.csv --via kafka

  millrace simulate --via kafka --rate 5000 --count 100000 --poison 0.1

  millrace simulate transactions --rate 65000 --for 60

  millrace simulate --customers"""
"""Shown below the options."""


class Way(NamedTuple):
    """How it goes out.

    Attributes:
        surge: as made-up transactions in bulk, straight to Kafka (`cli.surge`).
        report: whether the run's decisions are waited for; `None`: where that makes sense.
    """

    via: Via
    surge: bool
    url: str | None
    lanes: int
    poison: float
    report: bool | None


def simulate(
    what: take.Chosen = What.all,
    rate: take.Rate = None,
    count: take.Count = None,
    seconds: take.Seconds = None,
    source: take.Source = None,
    users: take.Users = None,
    seed: take.Seed = 0,
    run: take.Run = None,
    poison: take.Poison = 0,
    customers: take.Customers = False,
    speed: take.Speed = None,
    start: take.Start = None,
    every: take.Every = 20,
    url: Url = None,
    via: take.By = None,
    lanes: take.Lanes = 32,
    processes: take.Processes = 1,
    report: take.Report = None,
    as_json: take.Json = False,
) -> None:
    """Send rides, uploads or card transactions to the running gateway, each user with a token of their own.

    Rides live their whole life: requested, started, positions on the way, completed with duration, fare and tip, or
    cancelled, or never heard of again. Uploads are harmless, spam, toxic or copied. Transactions are those of the Fraud
    Detection Handbook's model, frauds reported a week later. Event time runs --speed times as fast as the clock. A run
    with an end waits for its decisions and reports: what came, how fast, how far off.
    """
    from app.settings import read_settings
    from simulator.scenario import Options

    if customers:
        from cli.customers import fill

        return fill(source, count, seed, start, as_json=as_json)
    settings, way = read_settings(), Way(*_way(what, source, rate, via, poison), url, lanes, poison, report)
    _check(way, users, processes, run)
    options = Options(
        run=run or f"{seed}-{int(time.time()):x}",
        start=(start or utc_now()).replace(tzinfo=UTC),
        what=what.value,
        rate=rate,
        speed=speed,
        seed=seed,
        users=users or (CARDS if way.surge else USERS),
        every=timedelta(seconds=every),
        count=count,
        seconds=seconds,
        source=source,
    )
    if way.surge:
        from cli.surge import in_bulk

        return in_bulk(options, settings, processes, as_json=as_json)
    return _run(options, settings, way, as_json)


def _way(what: What, source: Path | None, rate: float | None, via: Via | None, poison: float) -> tuple[Via, bool]:
    """Which way it goes, and whether as a surge of made-up transactions (`cli.surge`)."""
    made_up = what is What.transactions and source is None
    chosen = via or (Via.kafka if made_up and (rate or 0) > BY_GATEWAY_PER_S else Via.http)
    if poison and chosen is Via.http:
        raise ConfigurationError("--poison needs --via kafka: the gateway lets no bad record through")
    return chosen, made_up and chosen is Via.kafka and not poison


def _check(way: Way, users: int | None, processes: int, run: str | None) -> None:
    if run is not None and not _RUN.fullmatch(run):
        raise ConfigurationError(f"--run {run!r}: 1 to 32 letters, digits and _ . : - for it is a part of every id")
    if users and users > MOST_LISTENERS and not way.surge:
        raise ConfigurationError(f"--users {users}: {MOST_LISTENERS} at most, but for made-up transactions --via kafka")
    if processes > 1 and not way.surge:
        raise ConfigurationError("--processes is for made-up transactions straight to Kafka, without --poison")


def _run(options: "Options", settings: "Settings", way: Way, as_json: bool) -> None:
    """Send it, each user's events one after the other; exits with 1 when what was waited for did not all come."""
    import uvloop

    from simulator.progress import RunProgress
    from simulator.report import show
    from simulator.scenario import Scenario

    scenario = Scenario(options)
    with RunProgress(lambda: scenario.total, quiet=as_json) as progress:
        try:
            found = uvloop.run(_go(scenario, settings, progress, way, options.run if _reports(options, way) else None))
        except KeyboardInterrupt:
            found = None
    if found is None:
        return _tell(progress, scenario, as_json)
    typer.echo(found.to_json()) if as_json else show(found, Console())
    raise typer.Exit(0 if found.whole else 1)


def _reports(options: "Options", way: Way) -> bool:
    """As asked; else where the run has an end, and its decisions come live: of transactions only those held do."""
    if way.report is not None:
        return way.report
    ends = any(limit is not None for limit in (options.source, options.count, options.seconds))
    return ends and way.via is Via.http and options.what != What.transactions


async def _go(
    scenario: "Scenario", settings: "Settings", progress: "RunProgress", way: Way, reported: str | None
) -> "Report | None":
    """Run it; the report, where one is asked for under that run's name."""
    from app.tokens import read_secret
    from simulator import run
    from simulator.badges import Badges

    if way.via is Via.kafka:
        await _by_kafka(scenario, settings, progress, way.poison)
        return None
    badges, address = Badges(read_secret(settings)), way.url or gateway_url(settings)
    if reported is None:
        await run.by_http(scenario, address, badges, lanes=way.lanes, watch=progress.watch)
        return None
    return await run.replay(scenario, address, badges, run=reported, lanes=way.lanes, watch=progress.watch)


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
