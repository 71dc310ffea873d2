"""Card fraud at tens of thousands of transactions a second: every figure of it in one run, each beside its baseline.

    python -m benchmarks.fraud                             # 65,000/s for 60 s, 5,000/s at the lowest latency, the peers
    python -m benchmarks.fraud --rate 2000 --seconds 5     # the same, small: does it work?
    python -m benchmarks.fraud --kill                      # kill -9 in mid-run
    python -m benchmarks.fraud --workers 2                 # what a second worker brings

See docs/fraud-benchmark.md for what is measured and how.
"""

import argparse
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct
from rich.console import Console

from app import embedded, topic_admin
from app.errors import MillraceError
from app.settings import Settings, read_settings
from benchmarks import fraud_show
from benchmarks.fraud_backlog import Drained, Ratio, compare, ours, ratios
from benchmarks.fraud_kill import Killed, kill
from benchmarks.fraud_sustained import Load, Sustained, sustain

_START = datetime(2023, 1, 2, tzinfo=UTC)
_NOTICE = Console(stderr=True)


class Found(Struct, omit_defaults=True):
    """Everything that was measured; what was not asked for is absent."""

    sustained: list[Sustained] = []
    backlog: list[Drained] = []
    ratios: dict[str, Ratio] = {}
    workers: list[Drained] = []
    killed: Killed | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing was lost or doubled, and no lag grew."""
        return all(each.audit.whole and each.steady for each in self.sustained) and (
            self.killed is None or self.killed.whole
        )


async def measure(settings: Settings, chosen: argparse.Namespace) -> Found:
    """What the command line asks for, on these services."""
    await topic_admin.ensure(settings)
    found, run = Found(), uuid.uuid4().hex[:6]
    big = Load(
        rate=chosen.rate,
        seconds=chosen.seconds,
        within_s=chosen.within,
        start=_START,
        warm_up_s=min(10.0, chosen.seconds / 3),
        processes=chosen.processes,
        agents=chosen.agents,
        decisions=chosen.decisions,
    )
    if chosen.kill:
        _say(f"{big.rate:,.0f}/s for {big.seconds:g} s, and kill -9")
        found.killed = await kill(settings, big, f"{run}k")
        return found
    small = msgspec.structs.replace(
        big, rate=min(chosen.rate, chosen.low_rate), seconds=min(chosen.seconds, 20.0), within_s=0.0, start=big.end
    )
    for number, load in enumerate([big] if chosen.workers > 1 else [big, small]):
        _say(f"{load.rate:,.0f}/s for {load.seconds:g} s, within {load.within_s:g} s")
        found.sustained.append(await sustain(settings, load, f"{run}{number}"))
    if chosen.workers > 1:
        for count in range(1, chosen.workers + 1):
            _say(f"the backlog with {count} worker(s)")
            found.workers.append(await ours(settings, chosen.drain, count))
    elif not chosen.alone:
        _say(f"the backlog, {chosen.drain:g} s each, by this loop and its peers")
        found.backlog = await compare(settings, chosen.drain)
        found.ratios = ratios(found.backlog)
    return found


def show(found: Found) -> None:
    """Print it all."""
    console = Console()
    if found.sustained:
        console.print(fraud_show.loads(found.sustained))
        for each in found.sustained:
            console.print(f"lag at {each.load.rate:,.0f}/s, every second:", *fraud_show.lag(each.samples), sep="\n")
        console.print(fraud_show.parts(found.sustained))
    if found.backlog:
        console.print(fraud_show.backlog(found.backlog))
        console.print(*fraud_show.ratio_lines(found.backlog), sep="\n")
    if found.workers:
        console.print(fraud_show.workers(found.workers, os.cpu_count() or 1))
    if found.killed:
        console.print(fraud_show.killed(found.killed))


def _say(sentence: str) -> None:
    _NOTICE.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/dim] {sentence}", highlight=False)


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fraud", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=65_000.0, help="transactions per second (default 65,000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--within", type=float, default=1.0, help="the window of the sustained run, s (default 1)")
    parser.add_argument("--low-rate", type=float, default=5_000.0, help="the rate of the row with no window (5,000)")
    parser.add_argument("--processes", type=int, default=1, help="of the generator (default 1)")
    parser.add_argument("--decisions", type=int, default=1, help="decision workers in the sustained runs (default 1)")
    parser.add_argument("--agents", type=int, default=1, help="workers of the agent in the sustained runs (default 1)")
    parser.add_argument(
        "--drain", type=float, default=15.0, help="seconds for each side of the comparison (default 15)"
    )
    parser.add_argument("--alone", action="store_true", help="without the comparison")
    parser.add_argument("--workers", type=int, default=1, help="drain the backlog with 1 to so many workers instead")
    parser.add_argument("--kill", action="store_true", help="kill agent, broker and decision in mid-run instead")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run it on services of its own; the exit code says whether anything was lost, doubled, or fell behind."""
    chosen = _parse(words)
    if (
        min(chosen.rate, chosen.seconds) <= 0
        or min(chosen.workers, chosen.processes, chosen.agents, chosen.decisions) < 1
    ):
        _NOTICE.print("millrace: --rate, --seconds and the numbers of processes must be more than nothing")
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
            given = read_settings(data_dir=Path(directory), kafka=None, redis=None, database=None)
            with embedded.services(given) as settings:
                found = uvloop.run(measure(settings, chosen))
    except MillraceError as error:
        _NOTICE.print(f"millrace: {error}", highlight=False, soft_wrap=True)
        return 2
    print(msgspec.json.encode(found).decode()) if chosen.json else show(found)
    return 0 if found.whole else 1


if __name__ == "__main__":
    sys.exit(main())
