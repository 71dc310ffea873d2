"""`millrace demo`: the whole system on this machine, with a simulator feeding it and a view of what happens."""

import asyncio
import math
import signal
from functools import partial
from typing import Annotated

import typer

from app.errors import ConfigurationError
from app.settings import Settings, read_settings
from app.supervisor import Unit
from cli.up import prepared, supervisor, system

MOST_CARDS = 500
"""Card transactions a second, one request each: what a small machine carries besides the rest."""

_READY_S = 60.0


def demo(
    rate: Annotated[float, typer.Option(help="new rides and uploads per second")] = 4.0,
    cards: Annotated[float, typer.Option(help="card transactions per second; 0 for none")] = 12.0,
    speed: Annotated[float, typer.Option(help="how many times faster than life a ride runs")] = 30.0,
    seed: Annotated[int, typer.Option(help="the same seed makes the same rides, uploads and transactions")] = 0,
) -> None:
    """Run everything here and show it: embedded Kafka and Redis, every agent, decisions, gateway, simulator.

    Open the address it prints to watch rides, uploads and card transactions being decided; Ctrl-C stops all of it. What
    the services keep stays in the data directory (MILLRACE_DATA_DIR, default .millrace), so the next demo goes on from there.

    The bank is small, and its months go by in minutes: that is how soon a fraud is reported, and the figures are known.

    Examples:

      millrace demo

      millrace demo --rate 50 --speed 60
    """
    if not 0 <= cards <= MOST_CARDS:
        raise ConfigurationError(
            f"--cards {cards:g}: 0 to {MOST_CARDS} a second; `millrace simulate transactions` goes further"
        )
    for name, value in (("--rate", rate), ("--speed", speed)):
        if not 0 < value < math.inf:
            raise ConfigurationError(f"{name} {value:g}: expected a number above 0")
    settings = read_settings(demo=True)
    with prepared(settings) as settings:
        units = [
            *system(settings),
            Unit("simulator", partial(_simulate, settings, rate, cards, speed, seed)),
            Unit("view", partial(_view, settings), essential=True, terminal=True),
        ]
        code = supervisor(settings).run(units)
    typer.echo("stopped; `millrace doctor` says what is kept where")
    raise typer.Exit(code)


def address(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.port}"


def _simulate(settings: Settings, rate: float, cards: float, speed: float, seed: int) -> None:
    import uvloop

    uvloop.run(_send(settings, rate, cards, speed, seed))


async def _send(settings: Settings, rate: float, cards: float, speed: float, seed: int) -> None:
    """Wait for the gateway, then send rides, uploads and card transactions without end."""
    from app.bus import KafkaProducer
    from app.clock import utc_now
    from app.tokens import read_secret
    from simulator import small_bank
    from simulator.badges import Badges
    from simulator.run import by_http
    from simulator.scenario import Options, Scenario

    await _gateway_ready(settings)
    badges, now = Badges(read_secret(settings)), utc_now()
    run = f"demo{now:%m%d%H%M%S}"
    producer = KafkaProducer(settings.kafka or "", "millrace-demo")
    try:
        async with asyncio.TaskGroup() as group:
            city = Scenario(Options(run, now, rate=rate, speed=speed, seed=seed))
            group.create_task(by_http(city, address(settings), badges))
            if cards:
                bank = small_bank.options(run, now, cards, seed)
                group.create_task(small_bank.trade(bank, address(settings), badges, producer))
    finally:
        await producer.close()


async def _gateway_ready(settings: Settings) -> None:
    import httpx

    async with asyncio.timeout(_READY_S), httpx.AsyncClient(base_url=address(settings)) as http:
        while True:
            try:
                if (await http.get("/health/ready")).is_success:
                    return
            except httpx.HTTPError:
                pass  # not listening yet
            await asyncio.sleep(0.1)


def _view(settings: Settings) -> None:
    import uvloop

    uvloop.run(_show(settings))


async def _show(settings: Settings) -> None:
    """The view, until the supervisor says stop: then the terminal is given back as it was."""
    from app.tokens import read_secret
    from cli.view import show, supervised
    from simulator.badges import Badges

    badges = Badges(read_secret(settings))
    showing = asyncio.create_task(show(address(settings), badges.operator, supervised(settings.data_dir / "logs")))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, showing.cancel)
    try:
        await showing
    except asyncio.CancelledError:
        return
