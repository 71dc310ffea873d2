"""What a replay costs whoever is live: 100 rides a second, POST to decision, by turns with and without one.

    python -m benchmarks.replay --live

The replay is another process that goes through the topic `rides` from its beginning to its end, unthrottled, again and
again, and keeps what it finds in the store of the same database.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import httpx
import uvloop

from app.settings import Settings
from app.tokens import OPERATOR_SCOPES, mint, read_secret
from benchmarks import latency, system
from benchmarks.latency import Round
from benchmarks.replay_kill import fill
from simulator.badges import Badges

RATE = 100.0
RIDES = 4000
"""Whole rides on the topic before: 32,000 events, more than any turn adds."""

_ROUNDS = 3
_DIGESTED_S = 300.0


def compare(settings: Settings, seconds: float, agent: str = "duration", rides: int = RIDES) -> float:
    """Turns without and with a replay, after one that does not count; prints a table and returns the ratio of p99."""
    badges, found = Badges(read_secret(settings)), dict[str, list[Round]]()
    uvloop.run(fill(settings, rides))
    with system.running(settings) as real:
        _digest(real)
        for number in range(_ROUNDS + 1):
            for name in ("alone", "replay"):
                with _replaying(settings, agent, real.url) if name == "replay" else _nothing() as _:
                    turn = uvloop.run(latency.measure(real.url, badges, f"{name}{number}", RATE, seconds, seconds / 3))
                if number:
                    found.setdefault(name, []).append(turn)
    print(f"{'ms':10}{'p50':>10}{'p99':>10}{'events':>10}{'missing':>10}")
    for name, turns in found.items():
        p50, p99 = median(turn.p50 for turn in turns), median(turn.p99 for turn in turns)
        print(f"{name:10}{p50:>10.1f}{p99:>10.1f}{sum(t.n for t in turns):>10,}{sum(t.missing for t in turns):>10,}")
    ratio = median(turn.p99 for turn in found["replay"]) / median(turn.p99 for turn in found["alone"])
    print(f"p99 ratio {ratio:.2f} (aim: 1.5 at most)")
    return ratio


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _replaying(settings: Settings, agent: str, url: str) -> Iterator[None]:
    """Replays, one after the other, until the context ends; the first is under way when it begins."""
    command = [sys.executable, "-m", "benchmarks.replay_live", agent]
    process = subprocess.Popen(command, env=system.environment(settings), stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != b"begun\n":
            raise system.SystemNotReady(f"the replay beside {url} did not begin")
        yield
        if process.poll() is not None:
            raise system.SystemNotReady("the replay ended before its turn")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _digest(real: system.System) -> None:
    """Until every consumer group has answered what was there before."""
    token = mint(real.settings, "operator", OPERATOR_SCOPES)
    deadline = time.monotonic() + _DIGESTED_S
    while time.monotonic() < deadline:
        answer = httpx.get(f"{real.url}/v1/status", headers={"Authorization": f"Bearer {token}"}, timeout=5)
        if not any(agent["lag"] for agent in answer.raise_for_status().json()["agents"]):
            return
        time.sleep(0.5)
    raise system.SystemNotReady("the system does not come to the end of what was there before")


def main() -> None:
    """The other process: one replay after the other, for ever."""
    from app.modes.replay.manners import be_modest
    from app.modes.replay.plan import Chosen, Plan, TopicRange
    from app.modes.replay.sources import TopicSource
    from app.registry import open_registry
    from app.settings import read_settings
    from benchmarks.replay import replayed

    settings, agent = read_settings(), sys.argv[1]
    be_modest()
    chosen = (Chosen(agent, open_registry(settings).resolve(agent)),)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    wanted = TopicRange(topic="rides")
    while True:
        replayed(settings, Plan(chosen=chosen, source=wanted), lambda: TopicSource(settings, wanted))


if __name__ == "__main__":
    main()
