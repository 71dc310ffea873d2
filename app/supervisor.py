"""Runs the parts of a system as child processes of one small parent: restarts what dies, stops everything together.

The parent imports the heavy libraries once and forks, so that a part starts (and comes back after kill -9) in
milliseconds rather than seconds, and the parts share those libraries' memory. It stays single-threaded and runs no
event loop, because forking is only safe that way.
"""

import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
"""Before a part is started again: at first hardly any, for one that was killed; doubled while it does not stay up."""

_HEALTHY_AFTER_S = 2.0
"""What was up for so long did not fail at its start: the next pause is the first again."""

_KILLED_S = 1.0
"""How long what was killed is waited for; the kernel takes milliseconds, unless the process waits for a device."""

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # of prctl(2)


@dataclass(frozen=True)
class Unit:
    """One part: `run` is called in a process of its own and is done when it returns.

    Attributes:
        essential: its end is the end of the whole, and its exit code that of the whole (the terminal view).
        terminal: it keeps the parent's terminal; the others write to a log file.
    """

    name: str
    run: Callable[[], None]
    essential: bool = False
    terminal: bool = False


@dataclass
class _Child:
    unit: Unit
    pid: int = 0
    started: float = 0.0
    restarts: int = 0
    pause_s: float = _FIRST_PAUSE_S
    due: float = 0.0
    last_exit: str = ""


@dataclass
class Supervisor:
    """Starts units, watches them, restarts them with a growing pause, and writes who runs where to `processes.json`.

    Attributes:
        directory: of the logs (`<name>.log`) and of the state file.
        grace_s: how long a part may take to stop before it is killed.
    """

    directory: Path
    grace_s: float = 10.0
    _children: list[_Child] = field(default_factory=list)
    _stopping: bool = False
    _code: int = 0

    def run(self, units: Sequence[Unit]) -> int:
        """Run until an essential unit ends or a signal arrives. Returns the exit code of the essential unit, or 0."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for number in _STOPPING:
            signal.signal(number, self._on_signal)
        self._children = [_Child(unit) for unit in units]
        try:
            while not self._stopping:
                for child, code in self._reap():
                    self._ended(child, code)
                self._start_due()
                time.sleep(0.05)  # SIGCHLD could wake us, but a signal handler that forks is a trap
        finally:
            self._stop_all()
        return self._code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the handler's signature
        self._stopping = True

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [child for child in self._children if child.pid == 0 and child.due <= now]
        for child in due:
            if self._stopping:
                break
            child.pid, child.started = _fork(child.unit, self.directory), now
        if due:
            self._write_state()

    def _reap(self) -> list[tuple[_Child, int]]:
        """The children that have ended, and how. Only ours: the embedded services are children of this process, too."""
        ended = []
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    child.pid = 0
                    ended.append((child, os.waitstatus_to_exitcode(status)))
        return ended

    def _ended(self, child: _Child, code: int) -> None:
        child.last_exit = f"signal {-code}" if code < 0 else f"exit {code}"
        if child.unit.essential:
            self._stopping, self._code = True, code if code >= 0 else 128 - code  # as a shell says it
            return
        if time.monotonic() - child.started > _HEALTHY_AFTER_S:
            child.pause_s = _FIRST_PAUSE_S
        child.restarts += 1
        child.due = time.monotonic() + child.pause_s
        log.warning("%s ended (%s): starting it again in %.1f s", child.unit.name, child.last_exit, child.pause_s)
        child.pause_s = min(child.pause_s * 2, _LONGEST_PAUSE_S)
        self._write_state()

    def _stop_all(self) -> None:
        """Everybody is told at once, then everybody is awaited, then whoever is left is killed."""
        for number, within_s in ((signal.SIGTERM, self.grace_s), (signal.SIGKILL, _KILLED_S)):
            self._signal_all(number)
            deadline = time.monotonic() + within_s
            while any(child.pid for child in self._children) and time.monotonic() < deadline:
                self._reap()
                time.sleep(0.02)
        (self.directory / "processes.json").unlink(missing_ok=True)

    def _signal_all(self, number: int) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)

    def _write_state(self) -> None:
        rows = [
            {"name": c.unit.name, "pid": c.pid, "restarts": c.restarts, "last_exit": c.last_exit}
            for c in self._children
        ]
        temporary = self.directory / "processes.json.new"
        temporary.write_text(json.dumps({"parent": os.getpid(), "processes": rows}))
        temporary.replace(self.directory / "processes.json")


def _fork(unit: Unit, directory: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    # Until the child is itself it has our handlers, which would take what it is told for a word to us.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid
    code = 1
    try:
        _become(unit, directory, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        unit.run()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        logging.getLogger(unit.name).exception("%s failed", unit.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # not sys.exit: the parent's exit handlers and context managers are not the child's


def _become(unit: Unit, directory: Path, parent: int) -> None:
    """Make the forked process the unit's own: it dies with its parent, has a name, and logs to its own file."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        libc.prctl(_PR_SET_NAME, f"mr-{unit.name}".encode()[:15], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above could tell us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent stops us in order
    if not unit.terminal:
        fd = os.open(directory / f"{unit.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)
