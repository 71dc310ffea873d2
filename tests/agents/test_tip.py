"""`tip` and its rule for cash; `cost` beside it, for both tell money."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.agent import find
from app.events import Place, RideRequested
from app.registry import Registry, shipped_root


def amount(name: str, **fields: Any) -> float:
    agent = find(name)
    model = agent.load(Registry(shipped_root()).load(name))
    places = {"pickup": Place(zone=74), "dropoff": Place(zone=138)} | fields
    event = RideRequested(event_id="e", user_id="u", ride_id="r", at=datetime(2023, 2, 14, 17, tzinfo=UTC), **places)
    return float(agent.score(model, [event]).values[0])


def test_a_cash_ride_has_no_recorded_tip() -> None:
    assert amount("tip", payment="cash") == 0
    assert amount("tip", payment="card") > 0.5


@pytest.mark.parametrize("name", ["tip", "cost"])
def test_further_costs_more(name: str) -> None:
    assert amount(name, dropoff=Place(zone=75)) < amount(name, dropoff=Place(zone=138))


def test_a_ride_outside_the_city_is_priced_by_distance() -> None:
    near, far = (
        {"pickup": Place(lat=31.23, lon=121.47), "dropoff": Place(lat=31.23, lon=lon)} for lon in (121.46, 121.3)
    )
    assert 3 < amount("cost", **near) < amount("cost", **far) < 150
