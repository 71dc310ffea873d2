"""The processes of the system on this machine, and the memory each takes; for `millrace doctor`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from app import embedded
from app.settings import Settings

PART = "mr-"
"""How the supervisor names its parts to the system (`app.supervisor`), whose command line is that of their parent."""


class Process(NamedTuple):
    """A process of ours.

    Attributes:
        rss_mb: memory it has in use, that which it shares with its siblings included.
        own_mb: what ending it would free; absent where the system does not tell.
    """

    name: str
    pid: int
    rss_mb: float
    own_mb: float | None
    restarts: int = 0


def processes(settings: Settings) -> list[Process]:
    """The supervisor, its parts, the embedded services, and workers somebody started by hand."""
    found: dict[int, Process] = {}
    for name, pid, restarts in [*_supervised(settings), *_embedded(settings), *_by_hand()]:
        measured = _measure(name, pid, restarts) if pid not in found else None
        if measured is not None:
            found[pid] = measured
    return list(found.values())


def _supervised(settings: Settings) -> Iterator[tuple[str, int, int]]:
    try:
        state = json.loads((settings.data_dir / "logs" / "processes.json").read_text())
    except (OSError, ValueError):
        return
    if not psutil.pid_exists(state["parent"]):
        return  # it was killed, and the file is what it left behind
    yield "supervisor", state["parent"], 0
    for row in state["processes"]:
        if row["pid"]:
            yield row["name"], row["pid"], row["restarts"]


def _embedded(settings: Settings) -> Iterator[tuple[str, int, int]]:
    for service in embedded.found(settings):
        if service.pid is not None:
            yield service.name, service.pid, 0
        yield f"guard of {service.name}", service.guard, 0


def _by_hand() -> Iterator[tuple[str, int, int]]:
    """Other `millrace` processes: `millrace agents run duration` is one, and so are we, who are left out."""
    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        words = _asked(process.info["cmdline"] or [])
        if words is not None and process.pid != psutil.Process().pid:
            asked = " ".join(words) or "millrace"
            part = (process.info["name"] or "").removeprefix(PART)
            yield f"{asked}: {part}" if part != process.info["name"] else asked, process.pid, 0


def _asked(command: Sequence[str]) -> Sequence[str] | None:
    """What a command line asks of `millrace`; `None` if it is another program's, were it one that starts it (`timeout 60`)."""
    at = next((place for place, word in enumerate(command[:3]) if Path(word).name == "millrace"), None)
    if at is None or (at > 0 and not Path(command[0]).name.startswith("python")):
        return None
    return command[at + 1 :]


def _measure(name: str, pid: int, restarts: int) -> Process | None:
    try:
        process = psutil.Process(pid)
        rss = process.memory_info().rss
        own = _own(process)
    except psutil.NoSuchProcess:
        return None
    return Process(name, pid, rss / 1e6, own, restarts)


def _own(process: psutil.Process) -> float | None:
    try:
        return float(process.memory_full_info().uss) / 1e6
    except psutil.AccessDenied:
        return None
