"""Nothing lost, nothing twice: a short form of `python -m benchmarks.chaos`, on every run."""

import pytest

from benchmarks import chaos


@pytest.mark.chaos
def test_every_event_is_decided_once_while_parts_are_killed() -> None:
    """Agents, the decision worker, the gateway and the broker die with -9 under load, with poison on the topics."""
    plan = chaos.Plan(events=1000, rate=40, poison=0.05, every_s=2.0, users=8, broker=True)
    outcome = chaos.on_embedded(plan)
    assert outcome.problems == []
    assert outcome.decided == outcome.events >= plan.events
    others = {"decision", "gateway", "broker"}
    assert others <= set(outcome.kills), "somebody was spared"
    assert set(outcome.kills) - others, "no agent was killed"
