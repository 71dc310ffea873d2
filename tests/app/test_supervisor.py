"""The supervisor, as a real process with real children: what dies comes back, and nothing outlives the parent."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

PARENT = """
import os, sys, time, signal
from pathlib import Path
from app.supervisor import Supervisor, Unit

def idle():
    print("up", flush=True)
    while True:
        time.sleep(60)

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    idle()

def brief():
    print(time.monotonic(), flush=True)
    raise SystemExit(3)

named = sys.argv[2:]
if "doomed" in named:  # told to stop before it is itself
    os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
elsewhere = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {}) if "last" in named else 0
units = {"idle": Unit("idle", idle), "stubborn": Unit("stubborn", stubborn), "brief": Unit("brief", brief),
         "doomed": Unit("doomed", idle), "failing": Unit("failing", brief, essential=True),
         "last": Unit("last", lambda: time.sleep(0.2), essential=True)}
code = Supervisor(Path(sys.argv[1]), grace_s=0.5).run([units[name] for name in named])
if elsewhere:
    assert os.waitstatus_to_exitcode(os.waitpid(elsewhere, 0)[1]) == 7, "a child of somebody else's was taken"
sys.exit(code)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*units: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), *units])
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def processes(directory: Path) -> dict[str, dict[str, object]]:
    try:
        state = json.loads((directory / "processes.json").read_text())
    except FileNotFoundError:
        return {}
    return {row["name"]: row for row in state["processes"]}


def until(condition: Callable[[], object], deadline_s: float = 10.0) -> None:
    limit = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < limit, "the condition did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_of(directory: Path, name: str) -> int:
    until(lambda: processes(directory).get(name, {}).get("pid"))
    pid = processes(directory)[name]["pid"]
    assert isinstance(pid, int)
    return pid


def test_a_killed_part_comes_back(start: Start, tmp_path: Path) -> None:
    start("idle")
    first = pid_of(tmp_path, "idle")
    os.kill(first, signal.SIGKILL)
    until(lambda: processes(tmp_path)["idle"]["restarts"] == 1 and processes(tmp_path)["idle"]["pid"])
    assert pid_of(tmp_path, "idle") != first
    assert processes(tmp_path)["idle"]["last_exit"] == "signal 9"


def test_a_part_that_keeps_failing_is_started_ever_more_slowly(start: Start, tmp_path: Path) -> None:
    start("brief", "idle")
    until(lambda: processes(tmp_path).get("brief", {}).get("restarts", 0) == 4)
    assert processes(tmp_path)["brief"]["last_exit"] == "exit 3"
    begun = [float(line) for line in (tmp_path / "brief.log").read_text().splitlines()]
    pauses = [later - earlier for earlier, later in pairwise(begun)][:3]
    assert all(pause >= least for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=True)), pauses


def test_a_part_that_is_told_to_stop_before_it_is_itself_stops(start: Start, tmp_path: Path) -> None:
    """Until then it has the parent's handler of signals, which would take it for a word to the parent."""
    start("doomed")
    until(lambda: processes(tmp_path).get("doomed", {}).get("restarts", 0) > 0)
    assert processes(tmp_path)["doomed"]["last_exit"] == "signal 15"


def test_stopping_ends_every_part_even_a_stubborn_one(start: Start, tmp_path: Path) -> None:
    parent = start("idle", "stubborn")
    pids = [pid_of(tmp_path, "idle"), pid_of(tmp_path, "stubborn")]
    log = tmp_path / "stubborn.log"
    until(lambda: log.exists() and log.read_text() == "up\n")
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0
    assert not any(alive(pid) for pid in pids)
    assert not (tmp_path / "processes.json").exists()


def test_nothing_outlives_a_killed_parent(start: Start, tmp_path: Path) -> None:
    parent = start("idle")
    pid = pid_of(tmp_path, "idle")
    parent.kill()
    until(lambda: not alive(pid))


def test_the_end_of_an_essential_part_is_the_end_of_all(start: Start, tmp_path: Path) -> None:
    parent = start("idle", "last")
    pid = pid_of(tmp_path, "idle")
    assert parent.wait(30) == 0
    assert not alive(pid)


def test_the_exit_code_of_an_essential_part_is_that_of_the_whole(start: Start) -> None:
    assert start("idle", "failing").wait(30) == 3
