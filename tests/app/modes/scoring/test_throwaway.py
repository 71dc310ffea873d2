"""What is asked of a stateful agent is answered as if nothing else had ever happened."""

import pytest

from app.agent import Agent, find, names
from app.events import Event, RidePositioned
from app.modes.scoring.throwaway import Throwaway
from app.testing import Events

STATEFUL = [agent for agent in map(find, names()) if agent.state is not None and agent.stateless]


@pytest.mark.parametrize("agent", STATEFUL, ids=lambda agent: agent.name)
def test_what_is_declared_stateless_is(agent: Agent) -> None:
    """The same bits in a state that has seen it all before, and in an empty one."""
    events = Events()
    opened = [
        each for each in (events.ride(), events.upload(), events.transaction()) if isinstance(each, agent.stateless)
    ]
    assert opened
    assert agent.state is not None
    used = agent.state()
    first = agent.extract(opened, used)
    assert agent.extract(opened, used).tobytes() == agent.extract(opened, agent.state()).tobytes() == first.tobytes()


def test_requests_are_extracted_together_where_they_may_be_and_in_their_order_always() -> None:
    agent, events = find("duration"), Events()
    rides = [events.ride() for _ in range(4)]
    moved = _moved(rides[1])
    requests: list[list[Event]] = [[rides[0]], [rides[1], moved], [rides[2], rides[3]], [_moved(rides[2])]]
    assert agent.state is not None
    together = Throwaway(agent, agent.state, requests).extract([event for request in requests for event in request])
    apart = [row for request in requests for row in agent.extract(request, agent.state())]
    assert [row.tobytes() for row in together] == [row.tobytes() for row in apart]


def _moved(ride: Event) -> RidePositioned:
    ride_id = ride.subject_id  # type: ignore[attr-defined]  # a ride has one
    return RidePositioned(
        event_id=f"p-{ride_id}", user_id=ride.user_id, at=ride.at, ride_id=ride_id, lat=40.7, lon=-73.9
    )
