"""Where a batch is scored: at once when that is quick, in a thread when it is not, and interrupted when it hangs."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from app.agent import Agent, agent
from app.events import RideRequested
from app.modes.scoring.scorer import Plain, Scorer
from app.testing import Events

HANGS = 9
EVENTS = Events()


class Watched:
    """Answers the passengers; notes where it was asked; hangs on nine."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def predict(self, features: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        if (features == HANGS).any():
            time.sleep(60)
        return features[:, 0]


def passengers() -> Agent:
    @agent("passengers", consumes=(RideRequested,), unit="min")
    def declared(rides: Sequence[RideRequested]) -> Any:
        return np.array([[float(ride.passengers)] for ride in rides])

    return declared


@pytest.fixture
def model() -> Watched:
    return Watched()


@pytest.fixture
def scorer(model: Watched) -> Any:
    made = Scorer(passengers(), model, timeout_s=0.3)
    yield made
    made.close()


async def score(scorer: Scorer, *counts: int) -> Any:
    return await scorer.score([EVENTS.ride(passengers=count) for count in counts], Plain(passengers()))


async def test_a_quick_agent_is_called_at_once_after_the_first_time(scorer: Scorer, model: Watched) -> None:
    for count in (1, 2, 3):
        assert (await score(scorer, count)).values.tolist() == [count]
    assert model.threads[0].startswith("score-")
    assert threading.main_thread().name in model.threads[1:]


async def test_a_large_batch_is_not_called_at_once(scorer: Scorer, model: Watched) -> None:
    await score(scorer, 1)
    await score(scorer, *[2] * 100_000)
    assert model.threads[1].startswith("score-")


async def test_what_hangs_at_once_is_interrupted_and_fails_alone(scorer: Scorer, model: Watched) -> None:
    for _ in range(20):
        await score(scorer, 1)
    model.threads.clear()
    scores = await score(scorer, 1, HANGS, 2)
    assert model.threads[0] == threading.main_thread().name
    assert list(scores.problems) == [1]
    assert scores.values[[0, 2]].tolist() == [1, 2]
    assert scorer.hangs > 0


async def test_many_at_once_may_come_to_a_thread_first_and_are_known_then(scorer: Scorer, model: Watched) -> None:
    for rows in (1, 2, 600, 600):
        await score(scorer, *[1] * rows)
    assert model.threads[-1] == threading.main_thread().name
