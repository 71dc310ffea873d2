"""The progress of a run on a terminal: how many, how fast, how much longer."""

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from simulator.findings import Findings
from simulator.tally import Tally


class RunProgress:
    """A bar on standard error, as a context manager; `watch` is what `simulator.run` wants to be given.

    Args:
        total: how many rides and uploads it will be, as far as is known now; `None` when there is no end.
        quiet: draw nothing.

    Attributes:
        tally: as it was last seen.
    """

    def __init__(self, total: Callable[[], int | None], *, quiet: bool = False) -> None:
        self.tally = Tally()
        self._total = total
        self._started = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} events/s"),
            TextColumn("{task.fields[decided]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=quiet,
        )
        self._task = self._bar.add_task("", total=total(), rate=0.0, decided="")

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def watch(self, tally: Tally, findings: Findings) -> None:
        """See `simulator.run.Watch`."""
        self.tally = tally
        decided = f"{len(findings.decided):,} decided" if findings.asked else ""
        rate = tally.accepted / max(self.seconds, 1e-3)
        self._bar.update(self._task, completed=tally.subjects, total=self._total(), rate=rate, decided=decided)
