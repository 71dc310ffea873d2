"""`millrace bench`: the project's figures, each beside a baseline measured in the same run."""

import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer


class Benchmark(StrEnum):
    """A module of `benchmarks`, in the order in which `all` runs them."""

    latency = "latency"
    throughput = "throughput"
    fraud = "fraud"
    ask = "ask"
    chaos = "chaos"
    replay = "replay"
    all = "all"


def bench(
    context: typer.Context,
    name: Annotated[Benchmark, typer.Argument(help="which; 'all' runs latency, throughput and fraud")] = Benchmark.all,
) -> None:
    """Measure this machine: each figure is printed beside a baseline of the same run, as a ratio.

    Everything after the name goes to the benchmark; `millrace bench latency --help` lists what it takes.

    Examples:

      millrace bench

      millrace bench latency --rate 200

      millrace bench fraud --rate 2000 --seconds 5

      millrace bench chaos --events 20000 --broker

      millrace bench replay --memory
    """
    chosen = [Benchmark.latency, Benchmark.throughput, Benchmark.fraud] if name is Benchmark.all else [name]
    codes = [
        subprocess.run([sys.executable, "-m", f"benchmarks.{each}", *context.args], check=False).returncode
        for each in chosen
    ]
    raise typer.Exit(max(codes))
