"""What every agent keeps, whoever wrote it: shape, unit, determinism, batch = one by one, bad input, state."""

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from app.agent import Agent, Scores, find, names
from app.events import (
    ContentUploaded,
    Event,
    Place,
    RidePositioned,
    RideRequested,
    TransactionMade,
)
from app.registry import Registry, shipped_root
from tests.agents.streams import START, stream

UNITS = {"min", "usd", "probability", "similarity"}


@pytest.fixture(params=names())
def agent(request: pytest.FixtureRequest) -> Agent:
    return find(request.param)


@pytest.fixture(scope="session")
def models() -> Callable[[Agent], Any]:
    """The shipped champions, each loaded once."""
    registry, loaded = Registry(shipped_root()), {}

    def model(agent: Agent) -> Any:
        if agent.name not in loaded:
            loaded[agent.name] = agent.load(registry.load(agent.name))
        return loaded[agent.name]

    return model


@pytest.fixture
def memory(agent: Agent, tmp_path: Path) -> Callable[[], Any]:
    """A fresh memory for the agent: none, a state, or a database of its own."""
    numbers = count()

    def fresh() -> Any:
        if agent.state is not None:
            return agent.state()
        if agent.shared is not None:
            return agent.shared(f"sqlite:///{tmp_path / f'{next(numbers)}.db'}")
        return None

    return fresh


def run(agent: Agent, model: Any, events: Sequence[Event], state: Any, sizes: Callable[[], int]) -> Scores:
    """Score a stream in batches of the given sizes, and put the answers together."""
    parts, start = [], 0
    while start < len(events):
        part = events[start : start + sizes()]
        parts.append((start, agent.score(model, part, state)))
        start += len(part)
    return Scores(
        np.concatenate([scores.values for _, scores in parts]),
        [detail for _, scores in parts for detail in scores.details],
        {start + row: problem for start, scores in parts for row, problem in scores.problems.items()},
    )


def same(left: Scores, right: Scores) -> None:
    """Bit for bit, and told so by row where it is not."""
    differ = np.flatnonzero(left.values.view(np.int64) != right.values.view(np.int64))
    assert not len(differ), f"rows {differ[:5]}: {left.values[differ[:5]]} and {right.values[differ[:5]]}"
    assert [msgspec.json.encode(d) for d in left.details] == [msgspec.json.encode(d) for d in right.details]
    assert left.problems == right.problems


def test_is_declared_as_its_module_says(agent: Agent) -> None:
    assert agent.name in names()
    assert agent.unit in UNITS
    assert agent.low < agent.high
    assert agent.consumes
    assert agent.state is None or agent.shared is None


def test_has_a_shipped_champion_with_a_card(agent: Agent) -> None:
    artifact = Registry(shipped_root()).load(agent.name)
    assert artifact.manifest["model"] == agent.name
    assert artifact.manifest["data"]
    assert artifact.manifest["metrics"]
    assert artifact.card().startswith(f"# {agent.name}")


def test_gives_one_value_or_one_problem_for_each_event_it_scores(agent: Agent, models: Any, memory: Any) -> None:
    events = stream(agent)
    scores = agent.score(models(agent), events, memory())
    assert scores.values.shape == (len(events),)
    assert scores.values.dtype == np.float64
    assert len(scores.details) in {0, len(events)}
    for row, event in enumerate(events):
        has_value = not math.isnan(scores.values[row])
        assert has_value + (row in scores.problems) == agent.scores(event), f"row {row}: {event}"
    given = scores.values[~np.isnan(scores.values)]
    assert len(given) > len(events) / 4
    assert (given >= agent.low).all()
    assert (given <= agent.high).all()
    assert np.ptp(given) > 0, "one answer to everything is no model"


def test_the_same_stream_gives_the_same_bits(agent: Agent, models: Any, memory: Any) -> None:
    events = stream(agent)
    whole = agent.score(models(agent), events, memory())
    same(whole, agent.score(models(agent), events, memory()))


@pytest.mark.parametrize("sizes", ["one by one", "slices"])
def test_a_batch_answers_as_its_parts_do(agent: Agent, models: Any, memory: Any, sizes: str) -> None:
    events = stream(agent)
    rng = random.Random(3)
    size = (lambda: 1) if sizes == "one by one" else (lambda: rng.randint(1, 17))
    same(agent.score(models(agent), events, memory()), run(agent, models(agent), events, memory(), size))


def test_evaluating_a_part_of_the_rows_gives_the_bits_of_the_whole(agent: Agent, models: Any, memory: Any) -> None:
    events = stream(agent)
    features = agent.extract(events, memory())
    whole = agent.evaluate(models(agent), events, features)
    rows = sorted(random.Random(5).sample(range(len(events)), len(events) // 3))
    part = agent.evaluate(models(agent), [events[row] for row in rows], features[rows])
    assert (part.values.view(np.int64) == whole.values[rows].view(np.int64)).all()


STATEFUL = pytest.mark.parametrize("agent", [name for name in names() if find(name).state], indirect=True)


@STATEFUL
def test_a_state_restored_half_way_goes_on_undisturbed(agent: Agent, models: Any, memory: Any) -> None:
    assert agent.state is not None
    events = stream(agent)
    half = len(events) // 2
    undisturbed, state = memory(), memory()
    whole = agent.score(models(agent), events, undisturbed)
    agent.extract(events[:half], state)
    restored = agent.state.restore(state.dump())
    rest = agent.score(models(agent), events[half:], restored)
    assert (rest.values.view(np.int64) == whole.values[half:].view(np.int64)).all()
    assert restored.dump() == undisturbed.dump()  # type: ignore[attr-defined]  # State has it


@STATEFUL
def test_an_empty_state_survives(agent: Agent) -> None:
    assert agent.state is not None
    empty = agent.state()
    assert agent.state.restore(empty.dump()).dump() == empty.dump()


ODD_PLACES = [
    Place(lat=90, lon=180),
    Place(lat=-90, lon=-180),
    Place(lat=0, lon=0),
    Place(lat=30.66, lon=104.07),
    Place(zone=264),
    Place(zone=265),
    Place(zone=1),
]
ODD_TIMES = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, 23, 59, tzinfo=UTC), START]
ODD_TEXTS = [
    "\x00",
    " ",
    "‮" * 300,
    "A" * 500,
    "😀😀😀",
    "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
]


def oddities(agent: Agent) -> list[Event]:
    """Valid messages that no data set holds."""
    rides: list[Event] = [
        RideRequested(event_id=f"o{i}", user_id="u", ride_id=f"o{i}", at=at, pickup=pickup, dropoff=dropoff)
        for i, (at, pickup, dropoff) in enumerate((a, p, d) for a in ODD_TIMES for p in ODD_PLACES for d in ODD_PLACES)
    ]
    moves: list[Event] = [
        RidePositioned(
            event_id=f"m{i}", user_id="u", ride_id=f"o{i % 90}", at=START - timedelta(days=i), lat=-90, lon=i
        )
        for i in range(180)
    ]
    unknown = RidePositioned(event_id="n", user_id="u", ride_id="never", at=START, lat=40.7, lon=-73.9, travelled_km=0)
    uploads: list[Event] = [
        ContentUploaded(event_id=f"u{i}", user_id="u", upload_id=f"u{i}", at=START, title=text, description=text * 30)
        for i, text in enumerate(ODD_TEXTS)
    ]
    cards: list[Event] = [
        TransactionMade(
            event_id=f"t{i}",
            user_id="u",
            at=at,
            transaction_id=f"t{i}",
            card_id="c",
            terminal_id="t",
            source="atm",
            amount_usd=usd,
        )
        for i, (at, usd) in enumerate((at, usd) for at in ODD_TIMES for usd in (0.0, 0.001, 1_000_000.0))
    ]
    return [event for event in [*rides, *moves, unknown, *uploads, *cards] if agent.sees(event)]


def test_odd_but_valid_input_gives_a_value_or_a_problem(agent: Agent, models: Any, memory: Any) -> None:
    events = oddities(agent)
    scores = agent.score(models(agent), events, memory())
    for row, event in enumerate(events):
        assert (not math.isnan(scores.values[row])) + (row in scores.problems) == agent.scores(event), event
    for detail in scores.details:
        encoded = msgspec.json.encode(detail)
        assert b"NaN" not in encoded
        assert msgspec.json.decode(encoded) == msgspec.to_builtins(detail)
