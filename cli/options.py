"""Options that several commands take: declared once, so that they say the same everywhere."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.settings import Settings

Url = Annotated[str | None, typer.Option(help="the gateway; default: the one of the settings")]
Token = Annotated[
    str | None,
    typer.Option(envvar="MILLRACE_TOKEN", help="an access token; default: minted with this machine's secret"),
]


def gateway_url(settings: "Settings") -> str:
    """Where the gateway of these settings is to be reached from here."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104  # compared, not bound
    return f"http://{host}:{settings.port}"
