"""`millrace token`: an access token for the gateway of these settings."""

from datetime import timedelta
from typing import Annotated

import typer

LONGEST_H = 10 * 365 * 24


def token(
    user: Annotated[str, typer.Argument(help="who calls: a user's id, or the name of a service")],
    operator: Annotated[
        bool, typer.Option("--operator", help="may see everybody's live updates and the status")
    ] = False,
    bank: Annotated[
        bool, typer.Option("--bank", help="may send transactions and chargebacks of any card holder, and nothing else")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.01, max=LONGEST_H, help="how long it is valid")] = 1.0,
) -> None:
    """Print a token, signed with MILLRACE_AUTH_SECRET, or with this machine's own secret where that is not set.

    Examples:

      millrace token rider-7

      curl -H "Authorization: Bearer $(millrace token core-banking --bank)" ...
    """
    from app.errors import ConfigurationError
    from app.settings import read_settings
    from app.tokens import BANK_SCOPES, OPERATOR_SCOPES, USER_SCOPES, mint

    if operator and bank:
        raise ConfigurationError("--operator and --bank exclude each other: a bank's token reads nobody's decisions")
    scopes = OPERATOR_SCOPES if operator else BANK_SCOPES if bank else USER_SCOPES
    try:
        typer.echo(mint(read_settings(), user, scopes, timedelta(hours=hours)))
    except ValueError as error:
        raise ConfigurationError(f"{user!r}: {error}") from error
