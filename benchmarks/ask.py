"""Request-reply over Kafka: latency and throughput of `POST /v1/predict/{agent}`, beside two rivals in the same run.

The rivals are the same model behind a plain FastAPI route in one process, and Faust's own `ask` (`benchmarks.ask_rivals`).
Closed loop: each connection asks again when it is answered. `--faults` kills parts meanwhile (`benchmarks.ask_faults`).
`millrace bench ask` prints the table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from app import embedded
from app.services.process import free_port
from app.settings import Settings, read_settings
from app.tokens import mint
from benchmarks import system
from benchmarks.ask_faults import GRACE_MS, on_embedded
from benchmarks.load import Load

CONNECTIONS = (1, 8, 64, 256)
BODY = b'{"instances":[{"pickup":{"zone":74},"dropoff":{"zone":132}}]}'
READY_S = 60.0
DEADLINE_MS = 5000

Figures = dict[int, Load]
"""Connections -> what came of them."""


def plan(requests: int) -> dict[int, int]:
    """How many requests over how many connections: few where they go one by one."""
    return {connections: requests if connections > 1 else max(100, requests // 10) for connections in CONNECTIONS}


def measure(url: str, token: str, requests: int) -> Figures:
    """Every number of connections, each after a warm-up of a tenth."""
    found = {}
    for connections, count in plan(requests).items():
        load(url, token, max(20, count // 10), connections)
        found[connections] = load(url, token, count, connections)
    return found


def load(url: str, token: str, requests: int, connections: int) -> Load:
    """The load generator, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", url, "--token", token, "--deadline-ms", str(DEADLINE_MS)]
    command += ["--requests", str(requests), "--connections", str(connections)]
    return _read(json.loads(subprocess.run(command, input=BODY, stdout=subprocess.PIPE, check=True).stdout))


@contextmanager
def route(settings: Settings, agent: str) -> Iterator[str]:
    """The plain route, serving."""
    settings = settings.model_copy(update={"port": free_port()})
    command = [sys.executable, "-m", "benchmarks.ask_rivals", "route", "--agent", agent]
    process = subprocess.Popen(command, env=system.environment(settings))
    url = f"http://127.0.0.1:{settings.port}/v1/predict/{agent}"
    try:
        deadline = time.monotonic() + READY_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise system.SystemNotReady("the plain route did not come up")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str, **headers: str) -> bool:
    try:
        return httpx.post(url, content=BODY, headers=headers, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def faust(settings: Settings, agent: str, requests: int) -> Figures:
    """Faust's own `ask`, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ask_rivals", "faust", "--agent", agent]
    command += ["--plan", json.dumps(plan(requests))]
    said = subprocess.run(command, env=system.environment(settings), stdout=subprocess.PIPE, check=True).stdout
    return {int(connections): _read(found) for connections, found in json.loads(said).items()}


def _read(said: dict[str, Any]) -> Load:
    """A `Load` back from its JSON, where every key is a text."""
    return Load(**{**said, "statuses": {int(status): count for status, count in said["statuses"].items()}})


def compare(settings: Settings, agent: str, requests: int, rivals: int) -> dict[str, Figures]:
    """All three, one after the other, on one broker; nothing else runs meanwhile."""
    found = {}
    with system.running(settings) as running:
        token = mint(running.settings, "bench")
        url = f"{running.url}/v1/predict/{agent}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        deadline = time.monotonic() + READY_S
        while not _answers(url, **headers):
            if time.monotonic() > deadline:
                raise system.SystemNotReady(f"{agent} does not answer")
            time.sleep(0.2)
        found["millrace"] = measure(url, token, requests)
    with route(settings, agent) as url:
        found["plain route"] = measure(url, "", requests)
    found["faust ask"] = faust(settings, agent, rivals)
    return found


def table(found: dict[str, Figures], agent: str) -> Table:
    """Milliseconds, answers a second, what was refused; and answers a second as a multiple of Faust's."""
    rows = Table(title=f"POST /v1/predict/{agent}, one instance each", title_justify="left")
    for name in ("connections", "", "p50 ms", "p99 ms", "max ms", "answers/s", "ratio to Faust", "not answered"):
        rows.add_column(name, justify="left" if not name else "right", no_wrap=not name)
    for connections in CONNECTIONS:
        for name, figures in found.items():
            one = figures[connections]
            ratio = one.per_second / found["faust ask"][connections].per_second
            refused = {status: count for status, count in one.statuses.items() if status != 200}
            row = (f"{one.p50:.1f}", f"{one.p99:.1f}", f"{one.max:.1f}", f"{one.per_second:,.0f}", f"{ratio:.1f}")
            rows.add_row(str(connections), name, *row, json.dumps(refused) if refused else "0")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ask", description=__doc__)
    parser.add_argument("--agent", default="duration", help="a ride agent (default duration)")
    parser.add_argument("--requests", type=int, default=5000, help="per number of connections (default 5,000)")
    parser.add_argument("--faust-requests", type=int, default=1000, help="likewise, of Faust's ask (default 1,000)")
    parser.add_argument("--faults", action="store_true", help="instead: kill parts at load, and audit every request")
    parser.add_argument("--seconds", type=float, default=60.0, help="of --faults (default 60)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        given = read_settings(data_dir=Path(directory))
        if chosen.faults:
            audit = on_embedded(given, chosen.agent, chosen.seconds)
            print(audit)
            sys.exit(1 if audit.problems(GRACE_MS) else 0)
        with embedded.services(given) as settings:
            found = compare(settings, chosen.agent, chosen.requests, chosen.faust_requests)
    if chosen.json:
        print(json.dumps({name: {n: asdict(one) for n, one in figures.items()} for name, figures in found.items()}))
    else:
        Console().print(table(found, chosen.agent))


if __name__ == "__main__":
    main()
