"""The real system as child processes, as `millrace up` runs it: what the benchmarks measure and the chaos run hurts."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil

from app.agent import names
from app.errors import MillraceError
from app.services.process import free_port
from app.settings import Settings
from app.tokens import OPERATOR_SCOPES, mint

CARRIED = ("kafka", "redis", "database", "registry", "port", "data_dir", "partitions")
"""The settings a child is given."""

READY_S = 90.0
SETTLED_S = 2.5
"""A part is killed only after it has been up so long: what dies sooner its supervisor starts ever more slowly, up to 10 s."""

_STOP_S = 20.0


class SystemNotReady(MillraceError):
    """The system did not come up in time; its logs say why."""


@dataclass(frozen=True)
class System:
    """A running system.

    Attributes:
        settings: with every address filled in.
        url: the gateway's.
    """

    settings: Settings
    url: str

    def processes(self) -> dict[str, int]:
        """Name to pid of the parts that run now."""
        try:
            state = json.loads((self.settings.data_dir / "logs" / "processes.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return {row["name"]: row["pid"] for row in state["processes"] if row["pid"]}

    def kill(self, candidates: Sequence[str], rng: random.Random) -> str | None:
        """Kill -9 one of these parts; `None` when none of them has been at work for a while."""
        running = self.processes()
        alive = sorted(name for name in set(candidates) & running.keys() if _lived_s(running[name]) > SETTLED_S)
        if not alive:
            return None
        victim = rng.choice(alive)
        os.kill(running[victim], signal.SIGKILL)
        return victim

    def ready(self, groups: int) -> bool:
        """Whether the gateway answers and every consumer group has a member."""
        token = mint(self.settings, "operator", OPERATOR_SCOPES)
        try:
            answer = httpx.get(f"{self.url}/v1/status", headers={"Authorization": f"Bearer {token}"}, timeout=5)
            agents = answer.raise_for_status().json()["agents"]
        except (httpx.HTTPError, ValueError, KeyError):
            return False
        joined = [agent for agent in agents if agent["members"] > 0]
        return len(joined) >= groups


@contextmanager
def running(settings: Settings, agents: Sequence[str] = (), *, apart: bool = False) -> Iterator[System]:
    """The system on these services (addresses filled in) and this data directory, ready to be used.

    Raises `SystemNotReady` after `READY_S`.
    """
    settings = settings.model_copy(update={"port": free_port()})
    system = System(settings, f"http://127.0.0.1:{settings.port}")
    chosen = list(agents or names())
    command = [sys.executable, "-m", "cli", "up", *(["--apart"] if apart else [])]
    for name in chosen:
        command += ["--agent", name]
    process = subprocess.Popen(command, env=environment(settings), stdout=subprocess.DEVNULL)
    try:
        _await_ready(system, process, len(chosen) + 1)
        yield system
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _lived_s(pid: int) -> float:
    try:
        return time.time() - psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def environment(settings: Settings) -> dict[str, str]:
    """These settings as environment variables of a child."""
    named = {name: getattr(settings, name) for name in CARRIED}
    given = {f"MILLRACE_{name.upper()}": str(value) for name, value in named.items() if value is not None}
    return {**os.environ, **given}


def _await_ready(system: System, process: "subprocess.Popen[bytes]", groups: int) -> None:
    deadline = time.monotonic() + READY_S
    while not system.ready(groups):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemNotReady(f"the system did not come up: see the logs in {system.settings.data_dir / 'logs'}")
        time.sleep(0.2)
