"""`millrace gateway`: serve HTTP and the live channel until told to end."""

from typing import Annotated

import typer

from cli.listening import check_address


def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on; MILLRACE_HOST otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; MILLRACE_PORT otherwise.")] = None,
) -> None:
    """Serve the HTTP calls, the live channel and the dashboard until told to end.

    Start as many as are needed: any of them serves any user, and a client may resume at another.

    Examples:

      millrace gateway --port 8080

      MILLRACE_KAFKA=broker:9092 MILLRACE_REDIS=redis://cache MILLRACE_AUTH_SECRET=... millrace gateway --host 0.0.0.0
    """
    import uvloop

    from app.embedded import attached
    from app.services.process import free_port
    from app.settings import read_settings
    from gateway.main import serve

    given = {"host": host, "port": port}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    check_address(settings)
    if settings.port == 0:  # whoever reads the notice has to know it
        settings = settings.model_copy(update={"port": free_port()})
    resolved = attached(settings)
    typer.echo(f"gateway on http://{settings.host}:{settings.port}; Ctrl-C ends", err=True)
    uvloop.run(serve(resolved))
