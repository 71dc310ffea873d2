"""`millrace demo` as its users run it: everything comes up by itself, all three kinds are decided, and Ctrl-C leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from app.services.process import free_port

STARTED_S, STOPPED_S = 120.0, 30.0
COMMAND = [sys.executable, "-m", "cli", "demo"]


class Demo:
    """A demo of its own data directory, and its operator."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.process, self.url, self._token = process, url, ""

    def status(self) -> dict[str, object]:
        """The system's own word; empty while there is none."""
        try:
            if not self._token:
                self._token = httpx.get(f"{self.url}/v1/demo/token").raise_for_status().json()["token"]
            headers = {"Authorization": f"Bearer {self._token}"}
            found: dict[str, object] = httpx.get(f"{self.url}/v1/status", headers=headers).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    port = free_port()
    environment = os.environ | {"MILLRACE_DATA_DIR": str(tmp_path), "MILLRACE_PORT": str(port)}
    with (tmp_path / "demo.log").open("wb") as log:
        process = subprocess.Popen(COMMAND, env=environment, stdout=log, stderr=log)
        try:
            yield Demo(process, f"http://127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()


def test_everything_comes_up_decides_and_goes(demo: Demo, tmp_path: Path) -> None:
    deadline, decided = time.monotonic() + STARTED_S, dict[str, int]()
    while not {"quote", "keep", "allow"} <= decided.keys():
        said = (tmp_path / "demo.log").read_text(errors="replace")[-2000:]
        assert demo.process.poll() is None, said
        assert time.monotonic() < deadline, (decided, said)
        time.sleep(0.2)
        decided = demo.status().get("decisions", {})  # type: ignore[assignment]  # as the contract has it
    children = psutil.Process(demo.process.pid).children(recursive=True)
    assert len(children) > 5

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(STOPPED_S) == 0
    _, alive = psutil.wait_procs(children, timeout=STOPPED_S)
    assert alive == []


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--cards", "501", b"--cards 501: 0 to 500 a second"),
        ("--rate", "0", b"--rate 0: expected a number above 0"),
        ("--speed", "nan", b"--speed nan: expected a number above 0"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(option: str, value: str, why: bytes, tmp_path: Path) -> None:
    environment = os.environ | {"MILLRACE_DATA_DIR": str(tmp_path)}
    refused = subprocess.run([*COMMAND, option, value], env=environment, capture_output=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert why in refused.stderr
    assert list(tmp_path.iterdir()) == []
