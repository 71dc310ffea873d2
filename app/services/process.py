"""An embedded service as a child process: one per directory, shared by every process that wants it, gone with its owner.

The directory's lock file is held by the service itself, so the kernel says whether it runs; whoever finds it held attaches
to what `service.json` names. `app.services.guard` is the process between us and the service.
"""

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.errors import ServiceUnavailable
from app.services import guard as guardian

_START_S = 60.0
"""Apache Kafka takes 2 s on an idle machine; a loaded one with a log to recover takes longer."""
_GUARD_S = 5.0
"""What the guard may take beyond what it gives the service."""
_POLL_S = 0.02


class Service(msgspec.Struct, frozen=True):
    """A running service, as `service.json` in its directory describes it.

    Attributes:
        part: "kafka" or "redis": what it stands in for.
        guard: pid of the guard; `pid` is the service's own, which changes when the guard restarts it.
        address: as `Settings.kafka` or `Settings.redis` take it.
        limits: what it cannot do, in a sentence; empty when it is the real thing.
    """

    part: str
    name: str
    version: str
    address: str
    directory: Path
    guard: int
    limits: str = ""

    @property
    def pid(self) -> int | None:
        """Of the service itself; none in the moment between its death and its restart."""
        try:
            return int((self.directory / "pid").read_text())
        except FileNotFoundError:
            return None

    def __str__(self) -> str:
        return f"{self.name} {self.version} at {self.address}" + (f" ({self.limits})" if self.limits else "")


@dataclass(frozen=True)
class Recipe:
    """How to run a service in a directory.

    Attributes:
        part: "kafka" or "redis": what it stands in for.
        prepare: called under the lock; writes what the service reads and returns its command line and its address.
        ready: whether the service at that address answers a real request; must return within seconds, never raise.
        limits: see `Service`.
        grace_s: how long it may take to stop before it is killed. Apache Kafka stops in 0.3 s when idle; under load it
            first writes out its logs.
    """

    part: str
    name: str
    version: str
    directory: Path
    prepare: Callable[[], tuple[Sequence[str], str]]
    ready: Callable[[str], bool]
    limits: str = ""
    grace_s: float = 15.0


@contextmanager
def running(recipe: Recipe) -> Iterator[Service]:
    """The service of this directory: the one that runs, else a new one that stops when the context ends.

    Raises `ServiceUnavailable` when it does not come up, with the last words of its log.
    """
    recipe.directory.mkdir(parents=True, exist_ok=True)
    found = _attach_or_lock(recipe)
    if isinstance(found, Service):
        yield found
        return
    guard, address = _start(recipe, found)
    try:
        _await_ready(recipe, guard, address)
        home = recipe.directory.resolve()
        service = Service(
            recipe.part, recipe.name, recipe.version, address, home, guard=guard.pid, limits=recipe.limits
        )
        _write(recipe.directory / "service.json", msgspec.json.encode(service, enc_hook=str))
        yield service
    finally:
        _stop(guard, recipe.grace_s + _GUARD_S)


def find(directory: Path) -> Service | None:
    """The service that runs in this directory, by whomever it was started."""
    if not directory.is_dir():
        return None
    lock = _try_lock(directory)
    if lock is not None:
        os.close(lock)
        return None
    return _read(directory)


def log_file(directory: Path) -> Path:
    """Where a service of this directory says what it has to say: beside the logs of the workers."""
    return directory.parent / "logs" / f"{directory.name}.log"


def free_port(wanted: int | None = None) -> int:
    """A free port on loopback: the wanted one if it is free.

    Below the range from which outgoing connections take theirs, so that it is likely still free after a restart.
    """
    candidates = [wanted] if wanted else []
    candidates += random.sample(range(20_000, 30_000), 200)
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceUnavailable("kafka", "200 ports on 127.0.0.1 were tried, and none is free")


def _attach_or_lock(recipe: Recipe) -> Service | int:
    """The running service, or the lock that makes us the one to start it. Waits while another is starting it."""
    deadline = time.monotonic() + _START_S
    while True:
        lock = _try_lock(recipe.directory)
        if lock is not None:
            return lock
        service = _read(recipe.directory)
        if service is not None and recipe.ready(service.address):
            return service
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                recipe.part,
                f"another process holds {recipe.directory} but its {recipe.name} does not answer: stop that process",
            )
        time.sleep(_POLL_S)


def _try_lock(directory: Path) -> int | None:
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _start(recipe: Recipe, lock: int) -> tuple[subprocess.Popen[bytes], str]:
    """Start the guard, which inherits the lock and hands it on to the service: held for as long as either lives."""
    try:
        (recipe.directory / "service.json").unlink(missing_ok=True)
        command, address = recipe.prepare()
        log = log_file(recipe.directory)
        log.parent.mkdir(parents=True, exist_ok=True)
        interpreter = [sys.executable, "-I", "-S", guardian.__file__]
        with log.open("ab") as output:
            guard = subprocess.Popen(
                [*interpreter, str(os.getpid()), str(recipe.directory.resolve()), str(recipe.grace_s), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C is for us, who stop the workers first
            )
    finally:
        os.close(lock)
    return guard, address


def _await_ready(recipe: Recipe, guard: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _START_S
    while not recipe.ready(address):
        ended = guard.poll() is not None
        if ended or time.monotonic() > deadline:
            log = log_file(recipe.directory)
            last = log.read_text(errors="replace").splitlines()[-3:]
            problem = "ended at once" if ended else f"did not answer within {_START_S:.0f} s"
            raise ServiceUnavailable(recipe.part, f"{recipe.name} {problem}; {log} ends: {' / '.join(last)}")
        time.sleep(_POLL_S)


def _stop(guard: subprocess.Popen[bytes], within_s: float) -> None:
    guard.send_signal(signal.SIGTERM)
    try:
        guard.wait(within_s)
    except subprocess.TimeoutExpired:
        guard.kill()  # the service has a death signal tied to the guard
        guard.wait()


def _read(directory: Path) -> Service | None:
    try:
        return msgspec.json.decode((directory / "service.json").read_bytes(), type=Service, dec_hook=_to_path)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _to_path(kind: type, value: object) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise NotImplementedError(kind)
    return Path(value)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: another process may be reading."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)
