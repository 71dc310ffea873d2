"""When each event is due: the lives of many subjects, merged lazily into one sequence.

Between the generators (`trips`, `uploads`, `replay`), which know event time, and the senders, which know the wall clock.
As in river's `stream.simulate_qa`, a subject's outcome is released when it became known, not beside its question.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, takewhile
from math import inf
from random import Random
from typing import NamedTuple

from app.events import AnyEvent

Life = Sequence[AnyEvent]
"""The events of one subject in order of event time; the first one opens it."""

MakeLife = Callable[[int, datetime, Random], Life]
"""(number, when it opens, its own random numbers) -> a life: the same number and seed give the same life."""


class Birth(NamedTuple):
    """A life and when its first event is due, seconds after the start on the wall clock."""

    due_s: float
    life: Life


class Planned(NamedTuple):
    """An event and when to send it, seconds after the start on the wall clock."""

    due_s: float
    event: AnyEvent


def arrivals(make: MakeLife, *, seed: object, start: datetime, rate: float, speed: float) -> Iterator[Birth]:
    """New subjects without end: a Poisson process of `rate` per second of wall clock.

    Event time runs `speed` times as fast as the wall clock from `start`, so that a ride's timestamps tell its true
    duration whatever the speed.
    """
    rng, due_s, number = Random(f"{seed}/arrivals"), 0.0, 0
    while True:
        due_s += rng.expovariate(rate)
        opened = start + timedelta(seconds=due_s * (1.0 if speed == inf else speed))
        yield Birth(due_s, make(number, opened, Random(f"{seed}/{number}")))
        number += 1


def in_event_time(lives: Iterable[Life], speed: float) -> Iterator[Birth]:
    """Recorded lives, in order of their opening, each due when it happened, `speed` times as fast."""
    first: datetime | None = None
    for life in lives:
        first = first or life[0].at
        yield Birth((life[0].at - first).total_seconds() / speed, life)


def at_rate(lives: Iterable[Life], rate: float) -> Iterator[Birth]:
    """Recorded lives, one every `1 / rate` seconds."""
    for number, life in enumerate(lives):
        yield Birth(number / rate, life)


def until(births: Iterable[Birth], seconds: float | None) -> Iterator[Birth]:
    """No new subject after so many seconds; those that run are told to their end."""
    limit = inf if seconds is None else seconds
    return takewhile(lambda birth: birth.due_s < limit, births)


def schedule(births: Iterable[Birth], speed: float) -> Iterator[Planned]:
    """All events of all lives in the order they are due, reading no further ahead in `births` than it must.

    Args:
        births: in order of `due_s`.
        speed: how many seconds of event time pass in one second; `inf` makes a life's events due at once.
    """
    running: list[tuple[float, datetime, int, int, Life]] = []
    for number, (due_s, life) in enumerate(births):
        while running and running[0][:2] <= (due_s, life[0].at):
            yield _step(running, speed)
        heapq.heappush(running, (due_s, life[0].at, number, 0, life))
    while running:
        yield _step(running, speed)


def parted(plan: Iterable[Planned], at_s: float, lasting_s: float) -> tuple[list[Planned], Iterator[Planned]]:
    """What is due before `at_s`, so much faster that it lasts `lasting_s`; and the rest, as if the run began then."""
    rest = iter(plan)
    before, after = [], []
    for each in rest:
        if each.due_s >= at_s:
            after = [each]
            break
        before.append(each._replace(due_s=each.due_s * lasting_s / at_s))
    return before, (each._replace(due_s=each.due_s - at_s) for each in chain(after, rest))


def _step(running: list[tuple[float, datetime, int, int, Life]], speed: float) -> Planned:
    """The next event of the life that is first in line; its successor takes its place."""
    due_s, at, number, index, life = running[0]
    if index + 1 < len(life):
        after = life[index + 1].at
        heapq.heapreplace(running, (due_s + (after - at).total_seconds() / speed, after, number, index + 1, life))
    else:
        heapq.heappop(running)
    return Planned(due_s, life[index])
