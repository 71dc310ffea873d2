"""What is simulated: made-up or recorded, rides, uploads or both, and for which users.

Turns the options of `millrace simulate` into a plan (`plan.schedule`); everything here is pure but the reading of a file.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal

from app.errors import ConfigurationError
from simulator.bank import DAY_S, PER_CARD_AND_DAY, Bank
from simulator.plan import Birth, MakeLife, Planned, arrivals, at_rate, in_event_time, schedule, until
from simulator.recorded_texts import RecordedTexts, holds_texts
from simulator.recorded_transactions import RecordedTransactions
from simulator.recorded_trips import RecordedTrips
from simulator.recorded_uploads import RecordedUploads
from simulator.transactions import transactions
from simulator.trips import TripMaker
from simulator.uploads import UploadMaker
from simulator.wire import holder_id

Recording = RecordedTrips | RecordedUploads | RecordedTexts | RecordedTransactions
What = Literal["rides", "uploads", "transactions", "all"]

USUAL_RATE = 2.0
USUAL_SPEED = 30.0
"""A ride of 15 minutes takes 30 seconds."""


@dataclass(frozen=True)
class Options:
    """What to simulate.

    Attributes:
        run: sets the ids of this run apart; the same run and seed send the same ids again.
        start: event time of the beginning of a made-up run.
        rate: new subjects per second; a recording without one goes by its event time.
        speed: seconds of event time per second; without one, 30 for the made-up, as fast as it goes for a recording.
        count: how many subjects, at most.
        seconds: no new subject after so long.
        source: a recording to replay.
        first: the number of the first made-up card, and of the first terminal: banks that begin elsewhere share none.
    """

    run: str
    start: datetime
    what: What = "all"
    rate: float | None = None
    speed: float | None = None
    seed: int = 0
    users: int = 200
    every: timedelta = timedelta(seconds=20)
    count: int | None = None
    seconds: float | None = None
    source: Path | None = None
    first: int = 0


class Scenario:
    """A plan to be sent, and what is known of it beforehand.

    Attributes:
        users: everybody whose events it holds.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._recording = _open(options) if options.source else None
        self.users = self._everybody()

    @property
    def total(self) -> int | None:
        """How many subjects it holds, at most; less as rows of a recording turn out to be skipped. `None`: no end."""
        held = None if self._recording is None else len(self._recording) - self.skipped.total()
        return min((size for size in (self._options.count, held) if size is not None), default=None)

    @property
    def skipped(self) -> Counter[str]:
        """What a recording held that could not be replayed; complete once the plan is read to its end."""
        return self._recording.skipped if self._recording else Counter()

    def plan(self) -> Iterator[Planned]:
        options = self._options
        births = islice(until(self._births(), options.seconds), options.count)
        return schedule(births, self._speed())

    def _births(self) -> Iterator[Birth]:
        options = self._options
        if self._recording is None and options.what == "transactions":
            return self._transactions(options.rate or USUAL_RATE)
        if self._recording is None:
            return _made_up(options, options.rate or USUAL_RATE, self._speed())
        if options.rate is not None:
            return at_rate(self._recording.lives(), options.rate)
        return in_event_time(self._recording.lives(), self._speed())

    def _transactions(self, rate: float) -> Iterator[Birth]:
        options = self._options
        return transactions(
            Bank(options.users, options.seed),
            run=options.run,
            start=options.start,
            rate=rate,
            speed=self._speed(),
            seed=options.seed,
            seconds=options.seconds,
            first=options.first,
        )

    def _speed(self) -> float:
        options = self._options
        if options.speed is None and self._recording is None and options.what == "transactions":
            return (
                (options.rate or USUAL_RATE) * DAY_S / (options.users * PER_CARD_AND_DAY)
            )  # each card keeps its habits
        return options.speed or (USUAL_SPEED if self._recording is None else math.inf)

    def _everybody(self) -> list[str]:
        if isinstance(self._recording, RecordedTransactions):
            return self._recording.holders
        if self._recording is None and self._options.what == "transactions":
            return [holder_id(self._options.first + n) for n in range(self._options.users)]
        return [f"{name}-{n}" for name in self._names() for n in range(self._options.users)]

    def _names(self) -> Iterable[str]:
        if isinstance(self._recording, RecordedUploads | RecordedTexts):
            return ("channel",)
        if isinstance(self._recording, RecordedTrips):
            return ("rider",)
        return {"rides": ("rider",), "uploads": ("creator",), "all": ("rider", "creator")}[self._options.what]


def _made_up(options: Options, rate: float, speed: float) -> Iterator[Birth]:
    """Rides, uploads, or half of each."""
    sources: dict[str, MakeLife] = {
        "rides": TripMaker(options.run, options.users, options.every),
        "uploads": UploadMaker(options.run, options.seed, options.users),
    }
    chosen = [maker for name, maker in sources.items() if options.what in (name, "all")]
    streams = (
        arrivals(
            maker,
            seed=f"{options.seed}/{type(maker).__name__}",
            start=options.start,
            rate=rate / len(chosen),
            speed=speed,
        )
        for maker in chosen
    )
    return heapq.merge(*streams, key=lambda birth: birth.due_s)


def _open(options: Options) -> Recording:
    """The recording; what it is of is told by its ending where `what` does not say."""
    source = options.source
    assert source is not None  # noqa: S101  # the caller looked
    told = {".parquet": "rides", ".csv": "uploads", ".tsv": "uploads"}
    what = options.what if options.what != "all" else told.get(source.suffix)
    if what == "rides":
        return RecordedTrips(source, options.run, options.users)
    if what == "uploads":
        kind = RecordedTexts if holds_texts(source) else RecordedUploads
        return kind(source, options.run, options.users)
    if what == "transactions":
        return RecordedTransactions(source, options.run)
    raise ConfigurationError(f"{source} is neither .parquet nor .csv: say what it holds, as in `simulate rides`")
