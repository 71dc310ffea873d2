"""What request-reply over Kafka is measured against: the same model behind a plain FastAPI route, and Faust's own `ask`.

`python -m benchmarks.ask_rivals route` serves until it is ended; `... faust` measures itself and prints JSON.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
import uuid
from array import array
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import msgspec
import uvicorn
import uvloop
from fastapi import FastAPI, Request

from app import topic_admin
from app.agent import find
from app.events import RideRequested
from app.modes.stream import Ready, load
from app.registry import open_registry
from app.settings import Settings, read_settings
from app.testing import Events
from app.topics import RIDES
from benchmarks.load import Load, summary
from gateway.instances import Instances

FIRST_S = 30.0
"""Faust's first `ask` waits some seconds for its reply topic."""

ANSWER_S = 10.0


def ready(settings: Settings, name: str) -> Ready:
    return load(find(name), open_registry(settings))


def value(made: Ready, event: RideRequested) -> float:
    """The model's word on one event, as somebody would call it who knows no batches."""
    state = made.agent.state() if made.agent.state is not None else None
    return float(made.agent.score(made.model, [event], state).values[0])


def route(settings: Settings, name: str) -> None:
    """The model in the process of the route, a call per request: no queue, no broker, no token, no deadline."""
    made, app = ready(settings, name), FastAPI()
    instances = Instances(made.agent)

    @app.post("/v1/predict/{agent}")
    async def predict(agent: str, request: Request) -> dict[str, Any]:
        said, _ = instances.read(await request.body())
        events = instances.events(said, "somebody", publish=False)
        values = [value(made, event) for event in events if isinstance(event, RideRequested)]
        return {"predictions": values, "model": agent, "version": made.version}

    uvicorn.run(app, port=settings.port, log_level="warning", access_log=False)


async def faust_ask(settings: Settings, name: str, plan: dict[int, int]) -> dict[int, Load]:
    """Faust's `ask` as its documentation has it, asker and agent in one worker: connections -> figures."""
    import faust

    made, topic = ready(settings, name), f"bench.ask.{uuid.uuid4().hex[:8]}"
    await topic_admin.ensure(settings, [replace(RIDES, name=topic)])
    app = faust.App(
        topic,
        broker=f"aiokafka://{settings.kafka}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=1,
        reply_create_topic=True,
        datadir=tempfile.mkdtemp(),
    )

    async def score(rides: Any) -> Any:
        async for ride in rides:
            yield value(made, msgspec.convert(ride, RideRequested))

    agent = app.agent(app.topic(topic, value_serializer="json"))(score)
    await app.start()
    events, found = Events("faust"), {}
    await asyncio.wait_for(agent.ask(msgspec.to_builtins(events.ride())), FIRST_S)
    for connections, requests in plan.items():
        found[connections] = await _closed_loop(agent, events, connections, requests)
    return found


async def _closed_loop(agent: Any, events: Events, callers: int, requests: int) -> Load:
    left, latencies, statuses = [requests], array("d"), Counter[int]()

    async def call() -> None:
        while left[0] > 0:
            left[0] -= 1
            began = time.perf_counter()
            try:
                await asyncio.wait_for(agent.ask(msgspec.to_builtins(events.ride())), ANSWER_S)
            except TimeoutError:
                statuses[504] += 1
                continue
            latencies.append((time.perf_counter() - began) * 1000)
            statuses[200] += 1

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return summary(latencies, statuses, time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ask_rivals", description=__doc__)
    parser.add_argument("rival", choices=["route", "faust"])
    parser.add_argument("--agent", default="duration")
    parser.add_argument("--plan", type=json.loads, default={}, help="JSON: connections -> requests")
    chosen = parser.parse_args()
    settings = read_settings()
    if chosen.rival == "route":
        route(settings, chosen.agent)
        return
    uvloop.run(_report(settings, chosen.agent, {int(each): count for each, count in chosen.plan.items()}))


async def _report(settings: Settings, agent: str, plan: dict[int, int]) -> None:
    found = await faust_ask(settings, agent, plan)
    print(json.dumps({connections: asdict(load) for connections, load in found.items()}), flush=True)
    os._exit(0)  # Faust's worker, left to end by itself, waits for ever for its thread


if __name__ == "__main__":
    main()
