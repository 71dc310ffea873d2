"""The outbox: together when they come together, bounded in number and in time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from app.bus import Delivered, Outgoing
from app.errors import DeliveryFailed, ServiceUnavailable, TooManyEvents
from app.events import RideStarted
from gateway.outbox import Outbox


class Gate:
    """A producer that delivers when told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.fails = False
        self.batches: list[int] = []

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        self.batches.append(len(records))
        await self.open.wait()
        if self.fails:
            raise DeliveryFailed("not acknowledged")
        return [Delivered(record.topic, 0, row) for row, record in enumerate(records)]

    async def close(self) -> None: ...


def ride(number: int) -> RideStarted:
    return RideStarted(event_id=f"e{number}", user_id="u", at=datetime.now(UTC), ride_id="r")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def outbox(gate: Gate):
    box = Outbox(gate, in_flight=10, deadline=timedelta(seconds=0.2))
    running = asyncio.create_task(box.run())
    yield box
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_comes_together_goes_together(outbox: Outbox, gate: Gate) -> None:
    gate.open.set()
    places = await asyncio.gather(*(outbox.send([ride(n)]) for n in range(8)))
    assert [place.offset for (place,) in places] == list(range(8))
    assert gate.batches == [8]
    assert outbox.held == 0


async def test_a_silent_kafka_is_waited_for_only_so_long(outbox: Outbox, gate: Gate) -> None:
    with pytest.raises(ServiceUnavailable) as silent:
        await outbox.send([ride(0)])
    assert silent.value.part == "kafka"
    assert outbox.held == 1  # its fate is open: it still counts


async def test_only_so_many_are_under_way(outbox: Outbox, gate: Gate) -> None:
    waiting = asyncio.create_task(outbox.send([ride(n) for n in range(10)]))
    await asyncio.sleep(0)
    with pytest.raises(TooManyEvents):
        await outbox.send([ride(10)])
    with pytest.raises(TooManyEvents):
        await outbox.room(1, within_s=0.05)
    gate.open.set()
    assert len(await waiting) == 10
    assert len(await outbox.send([ride(11)])) == 1


async def test_a_refused_batch_is_refused_to_all_of_it_and_the_next_goes(outbox: Outbox, gate: Gate) -> None:
    gate.open.set()
    gate.fails = True
    answers = await asyncio.gather(*(outbox.send([ride(n)]) for n in range(3)), return_exceptions=True)
    assert all(isinstance(answer, DeliveryFailed) for answer in answers)
    gate.fails = False
    assert len(await outbox.send([ride(4)])) == 1
