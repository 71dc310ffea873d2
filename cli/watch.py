"""`millrace watch`: look on, live, as a user does; reconnects and goes on where it was."""

from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.errors import ConfigurationError
from cli.options import Token, Url, gateway_url

if TYPE_CHECKING:
    from app.settings import Settings
    from simulator.client import LiveClient, Lost

User = Annotated[str | None, typer.Option(help="whose updates, for instance rider-7")]
Everyone = Annotated[bool, typer.Option("--all", help="everybody's: the operator's view; default without --user")]
LastId = Annotated[str | None, typer.Option(help="go on after this message: an `id`, as --json prints it")]
Predictions = Annotated[
    bool, typer.Option("--predictions", help="show each figure, too, not only the decisions and corrections")
]
Json = Annotated[bool, typer.Option("--json", help="every message as one line of JSON")]


def watch(
    user: User = None,
    everyone: Everyone = False,
    token: Token = None,
    last_id: LastId = None,
    url: Url = None,
    predictions: Predictions = False,
    as_json: Json = False,
) -> None:
    """Print predictions and decisions as they happen, until Ctrl-C.

    Where there is no gateway, it ends. A lost connection is made again, after a growing pause, and goes on where it was;
    when the history no longer reaches back, it says so and shows the latest decisions instead. With --all that goes for the
    operator's own messages: what others were told during a break is not made up for.

    Examples:

      millrace watch

      millrace watch --user rider-7 --predictions

      millrace watch --all --json | jq 'select(.type == "decision") | .action'
    """
    import uvloop

    from app.settings import read_settings

    _check(user, last_id, everyone=everyone)
    everyone = everyone or (user is None and token is None)
    settings, console = read_settings(), Console(stderr=as_json)
    identify = (lambda: token) if token else _minting(settings, user)
    client = _client(url or gateway_url(settings), identify, last_id, console, everyone=everyone)
    try:
        if as_json:
            uvloop.run(_print_json(client))
        else:
            uvloop.run(_print(client, console, predictions, everyone))
    except KeyboardInterrupt:
        console.print("[dim]stopped[/dim]")


def _check(user: str | None, last_id: str | None, *, everyone: bool) -> None:
    from app.live_log import Cursor

    if user and everyone:
        raise ConfigurationError("--user and --all exclude each other: one user's updates, or everybody's")
    if last_id and Cursor.parse(last_id) is None:
        raise ConfigurationError(
            f"--last-id {last_id}: not the `id` of a live message, as `millrace watch --json` prints it"
        )


def _minting(settings: "Settings", user: str | None) -> Callable[[], str]:
    """Makes the token of a user, or of an operator, anew for each connection."""
    from app.tokens import read_secret
    from simulator.badges import Badges

    def minted() -> str:
        badges = Badges(read_secret(settings))
        return badges.of(user) if user else badges.operator()

    return minted


def _client(
    address: str, identify: Callable[[], str], last_id: str | None, console: Console, *, everyone: bool
) -> "LiveClient":
    """Says of each connection that is lost what becomes of it; where there has been none yet, that there is no gateway."""
    from simulator.client import LiveClient
    from simulator.errors import NoGateway

    def lost(end: "Lost") -> None:
        if not client.connected:
            raise NoGateway(address, end.reason)
        _lost(end, console)

    client = LiveClient(address, identify, everyone=everyone, last_id=last_id, lost=lost)
    return client


async def _print_json(client: "LiveClient") -> None:
    import msgspec

    async with aclosing(client.messages()) as messages:
        async for message in messages:
            typer.echo(msgspec.json.encode(message).decode())


async def _print(client: "LiveClient", console: Console, predictions: bool, everyone: bool) -> None:
    from app.live import LivePrediction
    from simulator.show import line

    resuming = client.last_id is not None
    async with aclosing(client.messages()) as messages:
        async for message in messages:
            if predictions or not (isinstance(message, LivePrediction) and message.stage == "initial"):
                text = line(message, resuming=resuming, everyone=everyone)
                if text is not None:
                    console.print(text, soft_wrap=True)
            resuming = True


def _lost(end: "Lost", console: Console) -> None:
    from simulator.show import lost

    console.print(lost(end))
