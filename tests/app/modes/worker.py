"""Agents the loop is tested with, and a process that runs one of them: `worker.py KAFKA TOPIC NAME KIND`."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from app.agent import Agent, agent, find
from app.bus import KafkaProducer
from app.events import RideRequested, RideStarted
from app.modes.consuming.lifecycle import until_stopped
from app.modes.stream import Loop, Ready, load
from app.registry import Registry, shipped_root
from app.settings import Settings
from app.topics import CHARGEBACKS, RIDES, TRANSACTIONS, Topic

Matrix = NDArray[np.float64]


class Doubles:
    """Twice the first feature; NaN, an error, or nothing at all for features that ask for it."""

    NAN, RAISE, HANG = 7.0, 8.0, 9.0

    def predict(self, features: Matrix) -> Matrix:
        if (features[:, 0] == self.RAISE).any():
            raise ArithmeticError("eight is too many")
        if (features[:, 0] == self.HANG).any():
            time.sleep(3600)
        return np.where(features[:, 0] == self.NAN, np.nan, features[:, 0] * 2)


class Counts:
    """How many rides each user has asked for: wrong for ever once an event is folded twice or not at all."""

    def __init__(self, seen: dict[str, int] | None = None) -> None:
        self.seen = Counter(seen or {})

    def dump(self) -> bytes:
        return json.dumps(self.seen).encode()

    @classmethod
    def restore(cls, snapshot: bytes) -> Self:
        return cls(json.loads(snapshot))


class Same:
    """The first feature."""

    def predict(self, features: Matrix) -> Matrix:
        return features[:, 0]


def passengers(name: str, pause_s: float = 0.0, **options: Any) -> Agent:
    """An agent whose feature is the number of passengers."""

    def features(events: Sequence[RideRequested]) -> Matrix:
        time.sleep(pause_s)
        return np.array([[float(event.passengers)] for event in events])

    return agent(name, consumes=(RideRequested,), unit="persons", **options)(features)


def counting(name: str, pause_s: float = 0.0, **options: Any) -> Agent:
    """An agent whose feature is the user's number of rides so far; a ride with eight passengers raises half-way."""

    def features(events: Sequence[RideRequested], counts: Counts) -> Matrix:
        time.sleep(pause_s)
        rows = []
        for event in events:
            counts.seen[event.user_id] += 1
            if event.passengers == Doubles.RAISE:
                raise ArithmeticError("eight is too many")
            rows.append([float(counts.seen[event.user_id])])
        return np.array(rows)

    return agent(name, consumes=(RideRequested,), follows=(RideStarted,), unit="rides", state=Counts, **options)(
        features
    )


def cards(name: str, pause_s: float = 0.0) -> Ready:
    """The real `fraud`, under a name of its own, a little slower."""
    ready = load(find("fraud"), Registry(shipped_root()))

    def features(events: Sequence[Any], state: Any) -> Matrix:
        time.sleep(pause_s)
        return cast("Matrix", ready.agent.features(events, state))

    within = timedelta(milliseconds=10)
    return replace(ready, agent=replace(ready.agent, name=name, features=features, max_batch=50, within=within))


def bank_topics(topic: str) -> tuple[list[Topic], list[Topic]]:
    """Topics like the bank's, of a test's own: what is consumed, what is heard."""
    consumed = [replace(each, name=f"{topic}.{source}") for source, each in TRANSACTIONS.items()]
    return consumed, [replace(CHARGEBACKS, name=f"{topic}.chargebacks")]


async def main(kafka: str, topic: str, name: str, kind: str) -> None:
    settings = Settings.model_construct(kafka=kafka, session_timeout=timedelta(seconds=3))
    producer = KafkaProducer(kafka)
    if kind == "cards":
        consumed, heard = bank_topics(topic)
        loop = Loop(cards(name, 0.01), consumed, producer, settings, hears=heard)
        await until_stopped(loop.run())
        await producer.close()
        return
    made = counting(name, 0.004, max_batch=20) if kind == "counting" else passengers(name, 0.004, max_batch=20)
    model = Same() if kind == "counting" else Doubles()
    inputs = Topic(topic, RIDES.messages, RIDES.key, RIDES.retention)
    await until_stopped(Loop(Ready(made, model, "1"), [inputs], producer, settings).run())
    await producer.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
