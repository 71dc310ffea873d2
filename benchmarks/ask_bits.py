"""Live, asked and in one batch: every agent says the same of the same event, bit for bit.

Real rides (a month of the TLC's) or uploads (YouTube's trending table) go onto their topic and are answered live; the same events are
then asked about through Kafka; and the whole of them is scored in one call here. `python -m benchmarks.ask_bits --help`.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import uvloop

from app import embedded
from app.agent import Agent, find, names
from app.asking.asker import Asker, kafka_asker
from app.bus import KafkaProducer, Outgoing
from app.codec import Decoder, context, encode
from app.errors import ConfigurationError
from app.events import OPENING, Event, RideRequested
from app.modes.consuming.read import reader
from app.modes.stream import inputs, load
from app.predictions import Detail, Prediction
from app.registry import open_registry
from app.settings import Settings, read_settings
from app.topics import PREDICTIONS
from benchmarks.system import SystemNotReady, running
from simulator.plan import Life
from simulator.recorded_trips import RecordedTrips
from simulator.recorded_uploads import RecordedUploads

CHUNK = 250
WITHIN_S = 30.0
LIVE_S = 300.0


class Said(NamedTuple):
    """One value, as its bits, and its detail; no value where the row failed."""

    value: bytes | None
    detail: Detail | None


class Compared(NamedTuple):
    """Of one agent: how many events, and how many were answered differently when asked, and in one batch."""

    agent: str
    events: int
    asked: int
    batch: int


def events(trips: Path | None, trending: Path | None, rows: int) -> list[Event]:
    """The opening events of the first so many lives, in order of their times."""
    lives: list[Iterator[Life]] = []
    if trips is not None:
        lives.append(RecordedTrips(trips, "bits").lives())
    if trending is not None:
        lives.append(RecordedUploads(trending, "bits").lives())
    opened = (event for each in lives for life in islice(each, rows) for event in life[:1])
    return sorted((event for event in opened if isinstance(event, OPENING)), key=lambda e: e.at)


def on_embedded(given: Settings, opened: Sequence[Event], agents: Sequence[str]) -> list[Compared]:
    """On a system and services of its own; with one partition, so that the live order is that of the events."""
    fresh = given.model_copy(update={"kafka": None, "redis": None, "database": None, "partitions": 1})
    with embedded.services(fresh) as resolved, running(resolved, agents) as system:
        return uvloop.run(compare(system.settings, opened, [find(name) for name in agents]))


async def compare(settings: Settings, opened: Sequence[Event], agents: Sequence[Agent]) -> list[Compared]:
    """Every agent on the events it answers."""
    mine = {agent: [event for event in opened if agent.scores(event)] for agent in agents}
    live = await _live(settings, opened, sum(map(len, mine.values())))
    asker, found = kafka_asker(settings, [agent.name for agent in agents]), []
    await asker.start()
    while not asker.ready:  # noqa: ASYNC110  # it connects in the background
        await asyncio.sleep(0.05)
    for agent, its in mine.items():
        expected = [live.get((event.event_id, agent.name), Said(None, None)) for event in its]
        asked, batch = await _asked(asker, agent, its), _batch(settings, agent, its)
        found.append(Compared(agent.name, len(its), _differing(expected, asked), _differing(expected, batch)))
    await asker.close()
    return found


def _differing(one: Sequence[Said], other: Sequence[Said]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


async def _live(settings: Settings, opened: Sequence[Event], expected: int) -> dict[tuple[str, str], Said]:
    """(event id, model) -> what was said of it on the topic of predictions."""
    producer, decoder = KafkaProducer(settings.kafka or ""), Decoder[Prediction](Prediction)
    for start in range(0, len(opened), CHUNK):
        await producer.send([_record(event) for event in opened[start : start + CHUNK]])
    await producer.close()
    deadline, found = time.monotonic() + LIVE_S, dict[tuple[str, str], Said]()
    async with reader(settings.kafka or "", PREDICTIONS.name, 0) as source:
        start, _ = await source.bounds()
        while len(found) < expected:
            if time.monotonic() > deadline:
                raise SystemNotReady(f"{len(found)} of {expected} predictions came")
            _, end = await source.bounds()
            async for records in source.records(start, end):
                for record in records:
                    said = decoder.decode(record.value)
                    found[said.event_id, said.model] = Said(_bits(said.value), said.detail)
            start = end
            await asyncio.sleep(0.2)
    return found


def _record(event: Event) -> Outgoing:
    topic = "rides" if isinstance(event, RideRequested) else "uploads"
    return Outgoing(topic, event.key.encode(), encode(event), context(event))


async def _asked(asker: Asker, agent: Agent, its: Sequence[Event]) -> list[Said]:
    said = []
    for start in range(0, len(its), CHUNK):
        answer = await asker.ask(agent.name, its[start : start + CHUNK], WITHIN_S)
        said += [Said(_bits(value), detail) for value, detail in zip(answer.values, answer.details, strict=True)]
    return said


def _batch(settings: Settings, agent: Agent, its: Sequence[Event]) -> list[Said]:
    """All of them in one call, with a memory of its own."""
    with tempfile.TemporaryDirectory(prefix="millrace-bits-") as directory:
        made = load(agent, open_registry(settings))
        memory: object = None
        if agent.shared is not None:
            memory = agent.shared(f"sqlite:///{directory}/bits.db")
        elif agent.state is not None:
            memory = agent.state()
        scores = agent.score(made.model, its, memory)
    details = scores.details or [None] * len(its)
    return [
        Said(None if row in scores.problems else _bits(value), detail)
        for row, (value, detail) in enumerate(zip(scores.values.tolist(), details, strict=True))
    ]


def _bits(value: float | None) -> bytes | None:
    return None if value is None else float(value).hex().encode()


def answer_these(opened: Sequence[Event]) -> list[str]:
    """The agents that answer any of these events."""
    agents = (find(name) for name in names())
    return [agent.name for agent in agents if inputs(agent) and any(agent.scores(event) for event in opened)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ask_bits", description=__doc__)
    parser.add_argument("--rows", type=int, default=5000, help="rides, and uploads (default 5,000 of each)")
    parser.add_argument("--trips", type=Path, help="a month of the TLC's green taxis (.parquet)")
    parser.add_argument("--trending", type=Path, help="YouTube's trending videos (.csv)")
    chosen = parser.parse_args()
    opened = events(chosen.trips, chosen.trending, chosen.rows)
    if not opened:
        raise ConfigurationError("name --trips or --trending")
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        found = on_embedded(read_settings(data_dir=Path(directory)), opened, answer_these(opened))
    print(f"{'agent':14}{'events':>8}{'asked differs':>15}{'batch differs':>15}")
    for each in found:
        print(f"{each.agent:14}{each.events:>8,}{each.asked:>15}{each.batch:>15}")
    sys.exit(1 if any(each.asked or each.batch for each in found) else 0)


if __name__ == "__main__":
    main()
