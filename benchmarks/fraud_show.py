"""The figures of the card fraud benchmark as tables a person reads."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.fraud_backlog import Drained, ratios
from benchmarks.fraud_kill import Killed
from benchmarks.fraud_sustained import Sample, Sustained

_BARS = "▁▂▃▄▅▆▇█"
AIMS = {"raw ceiling": 0.8, "plain faust": 40.0, "quixstreams, per record": 5.0}


def sparkline(values: Sequence[float]) -> str:
    """One character to a value, the highest of them full.

    Example:
        >>> sparkline([0, 1, 2, 4])
        '▁▂▄█'
    """
    top = max([*values, 1])
    return "".join(_BARS[round(max(0.0, value) / top * (len(_BARS) - 1))] for value in values)


def loads(found: Sequence[Sustained]) -> Table:
    """A column to each load: rate, latency, lag, and what was lost."""
    table = _table("Sustained, everything on this machine", [_head(each) for each in found])
    columns = [_figures(each) for each in found]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    return table


def _figures(found: Sustained) -> dict[str, str]:
    p50, p99, worst = found.audit.latency_ms or (float("nan"),) * 3
    fates = (found.audit.predicted, found.audit.decided)
    return {
        "transactions a second": f"{found.rate:,.0f}",
        "generator behind schedule, at most": f"{found.behind_s:.2f} s",
        "event to decision: p50 / p99 / worst, ms": f"{p50:,.0f} / {p99:,.0f} / {worst:,.0f}",
        "undecided at any look, at most": f"{max((sample.undecided for sample in found.samples), default=0):,}",
        "their growth, a second": f"{found.growth:,.0f}" + ("" if found.steady else " [red]falls behind"),
        "transactions": f"{found.made:,}",
        "lost": f"{sum(fate.lost for fate in fates):,}",
        "predicted or decided twice": f"{sum(fate.doubled for fate in fates):,}",
        "reports of fraud among them": f"{found.reported:,}",
    }


def _head(found: Sustained) -> str:
    return f"{found.load.rate:,.0f}/s, within {found.load.within_s:g} s"


def lag(samples: Sequence[Sample]) -> list[str]:
    """The lag second by second: transactions without a prediction, and without a decision."""
    lines = {"unpredicted": [s.unpredicted for s in samples], "undecided": [s.undecided for s in samples]}
    return [f"{name:12} {sparkline(values)} up to {max(values, default=0):,}" for name, values in lines.items()]


def parts(found: Sequence[Sustained]) -> Table:
    """CPU and memory by process, a column to each load."""
    table = _table("CPU s per 100,000 transactions, and memory (RSS / PSS, MB)", [_head(each) for each in found])
    for name in found[0].cpu_s_per_100k:
        table.add_row(name, *(_cost(each, name) for each in found))
    table.add_row("together", *(f"{sum(each.cpu_s_per_100k.values()):.2f}" for each in found))
    return table


def backlog(found: Sequence[Drained]) -> Table:
    """Who drains the same topics how fast."""
    table = _table("A backlog, drained by one process", ("events/s", "CPU s/100k", "broker", "RSS MB", "events"))
    for each in found:
        if each.note:
            table.add_row(each.name, "-", "-", "-", "-", each.note[:80])
            continue
        broker = each.broker_cpu_s / each.events * 1e5
        row = (
            f"{each.rate:,.0f}",
            f"{each.cpu_s_per_100k:.2f}",
            f"{broker:.2f}",
            f"{each.rss_mb:,.0f}",
            f"{each.events:,}",
        )
        table.add_row(each.name, *row)
    return table


def ratio_lines(found: Sequence[Drained]) -> list[str]:
    aims = {name: f" (aim: {aim:g})" for name, aim in AIMS.items()}
    return [
        f"{ratio.rate:.2f} times {name}{aims.get(name, '')}, at {ratio.cpu:.2f} times its CPU time for a transaction"
        for name, ratio in ratios(found).items()
    ]


def workers(found: Sequence[Drained], cores: int) -> Table:
    """One worker and two on the same backlog, and where the CPU time went."""
    table = _table("Workers of one group on the partitions", ("events/s", "CPU of each", "broker", f"of {cores} cores"))
    for each in found:
        seconds = max(each.seconds, 1e-9)
        shares = ", ".join(f"{spent / seconds:.0%}" for spent in each.cpu_by_part_s.values())
        busy = (each.cpu_s + each.broker_cpu_s) / seconds
        table.add_row(
            each.name, f"{each.rate:,.0f}", shares, f"{each.broker_cpu_s / seconds:.0%}", f"{busy / cores:.0%}"
        )
    return table


def killed(found: Killed) -> Table:
    table = _table("Kill -9 in mid-run", ("",))
    for name, value in {
        "transactions": f"{found.made:,}",
        "killed": ", ".join(found.kills),
        "sent twice by the generator": f"{found.audit.resent:,}",
        "never predicted, never decided": f"{found.audit.predicted.lost:,}, {found.audit.decided.lost:,}",
        "predicted again after a kill (one distinct prediction each)": f"{found.audit.predicted.doubled:,}",
        "decision on the topic again (the same id)": f"{found.audit.decided.doubled:,}",
        "probe: same value from an undisturbed worker": f"{found.probes - found.differing:,} of {found.probes:,}",
    }.items():
        table.add_row(name, value)
    return table


def _cost(found: Sustained, name: str) -> str:
    memory = found.memory.get(name)
    size = f"   {memory.rss_mb:,.0f} / {memory.pss_mb:,.0f}" if memory else ""
    return f"{found.cpu_s_per_100k[name]:.2f}{size}"


def _table(title: str, heads: Sequence[str], first: str = "") -> Table:
    table = Table(first, title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="right")
    return table
