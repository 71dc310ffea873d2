"""Options that several commands take: declared once, so that they say the same everywhere."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.settings import Settings

_HTTP = re.compile(r"https?://[^\s/?#]+/?\Z")


def _http(url: str | None) -> str | None:
    """As given; raises `ConfigurationError` when it is no address a gateway could have."""
    if url is not None and not _HTTP.match(url):
        raise ConfigurationError(f"--url {url}: an address such as http://127.0.0.1:8000 is wanted")
    return url


Url = Annotated[str | None, typer.Option(callback=_http, help="the gateway; default: the one of the settings")]
Token = Annotated[
    str | None,
    typer.Option(envvar="MILLRACE_TOKEN", help="an access token; default: minted with this machine's secret"),
]


def gateway_url(settings: "Settings") -> str:
    """Where the gateway of these settings is to be reached from here."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104  # compared, not bound
    return f"http://{host}:{settings.port}"
