"""`millrace gateway`: serve HTTP and the live channel until told to end."""

from typing import Annotated

import typer


def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on; MILLRACE_HOST otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; MILLRACE_PORT otherwise.")] = None,
) -> None:
    """Serve the HTTP calls, the live channel and the dashboard. Needs MILLRACE_KAFKA and MILLRACE_REDIS."""
    import uvloop

    from app.settings import read_settings
    from gateway.main import serve

    given = {"host": host, "port": port}
    uvloop.run(serve(read_settings(**{name: value for name, value in given.items() if value is not None})))
