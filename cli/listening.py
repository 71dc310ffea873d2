"""Whether the gateway can have its address: said at the start, in a sentence, not found out by a part that keeps dying."""

import asyncio
import errno

from app.errors import ConfigurationError
from app.settings import Settings


def check_address(settings: Settings) -> None:
    """Raises `ConfigurationError` when nothing of ours could listen on the settings' host and port; 0 is any free port."""
    where = f"{settings.host}:{settings.port}"
    try:
        asyncio.run(_bind(settings.host, settings.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"{where} is taken, perhaps by another Millrace: stop that one, or choose a port with MILLRACE_PORT"
            ) from error
        raise ConfigurationError(f"MILLRACE_HOST, MILLRACE_PORT: nothing can listen on {where} ({error})") from error


async def _bind(host: str, port: int) -> None:
    """As the gateway's server will, but for listening."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    server.close()
