"""One worker of `fraud` as `millrace agents run fraud` has it, but with a window or a name of the benchmark's choosing."""

import argparse
from dataclasses import replace
from datetime import timedelta

import uvloop

from app import topic_admin
from app.agent import find
from app.modes.stream import host, load
from app.registry import open_registry
from app.settings import Settings, read_settings
from app.telemetry import setup_logging
from app.topics import agent_topics
from benchmarks.fraud_task import AGENT


async def run(settings: Settings, within_s: float | None, name: str | None) -> None:
    """Until SIGTERM. Another name is another consumer group with another state: it reads from the beginning."""
    setup_logging(settings.log_level)
    ready = load(find(AGENT), open_registry(settings))
    agent = replace(ready.agent, name=name or AGENT)
    if within_s is not None:
        agent = replace(agent, within=timedelta(seconds=within_s))
    await topic_admin.ensure(settings, agent_topics(agent.name, stateful=agent.state is not None))
    await host([replace(ready, agent=agent)], settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--within", type=float, help="seconds a batch may wait; as declared where it is not given")
    parser.add_argument("--as", dest="name", help="the name, and so the consumer group")
    chosen = parser.parse_args()
    uvloop.run(run(read_settings(), chosen.within, chosen.name))


if __name__ == "__main__":
    main()
