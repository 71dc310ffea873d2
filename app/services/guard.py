"""The guard of one embedded service: a small process that starts it, restarts it when it dies, and ends it.

Run as a script by `app.services.process`, with the standard library alone, so that it is up in milliseconds and small.
It watches its parent by polling: a death signal alone would be tied to the *thread* that started us, and a pipe would be
held open by whatever the parent has forked. The service itself gets a death signal tied to this one-threaded guard,
so it survives neither.
"""

import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import FrameType

_POLL_S = 0.25
_STABLE_S = 5.0
_FAILURES = 3
"""A service that dies this often in a row, each time within `_STABLE_S` of its start, will not come up."""
_PR_SET_PDEATHSIG = 1


class Guard:
    """Keeps one service running until its parent dies, SIGTERM comes, or the service will not stay up."""

    def __init__(self, parent: int, directory: Path, grace_s: float, command: list[str]) -> None:
        self._parent, self._grace_s, self._command = parent, grace_s, command
        self._pid_file, self._state = directory / "pid", directory / "service.json"
        self._libc = ctypes.CDLL(None)
        self._told = False
        self._woken, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, self._on_child)

    def run(self) -> int:
        """Returns 0 when told to stop, 1 when the service would not stay up."""
        failures = 0
        while not self._ending() and failures < _FAILURES:
            started = time.monotonic()
            pid = self._spawn()
            if not self._watch(pid):
                self._stop(pid)
                break
            failures = failures + 1 if time.monotonic() - started < _STABLE_S else 0
        self._pid_file.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)
        return int(failures >= _FAILURES)

    def _on_term(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the handler's signature
        self._told = True

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        """Only there so that the signal wakes `select`; by default it would be ignored."""

    def _ending(self) -> bool:
        return self._told or os.getppid() != self._parent

    def _spawn(self) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                if sys.platform == "linux":
                    self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                signal.set_wakeup_fd(-1)
                os.execv(self._command[0], self._command)  # noqa: S606 - a shell is what we avoid
            except OSError as error:
                os.write(2, f"{self._command[0]}: {error}\n".encode())  # into the service's log
            finally:
                os._exit(127)
        fresh = self._pid_file.with_suffix(".new")
        fresh.write_text(str(pid))
        fresh.replace(self._pid_file)
        return pid

    def _watch(self, pid: int) -> bool:
        """Wait until the service has ended of itself (true) or we are to end it (false)."""
        while not self._ending():
            if self._ended(pid):
                return True
            self._sleep(_POLL_S)
        return False

    def _stop(self, pid: int) -> None:
        self._state.unlink(missing_ok=True)  # first, so that nobody attaches to what is about to end
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s
        while not self._ended(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            self._sleep(_POLL_S)

    def _ended(self, pid: int) -> bool:
        return os.waitpid(pid, os.WNOHANG)[0] == pid

    def _sleep(self, seconds: float) -> None:
        """Sleep, but wake at a signal."""
        if select.select([self._woken], [], [], seconds)[0]:
            os.read(self._woken, 512)


if __name__ == "__main__":
    sys.exit(Guard(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]).run())
