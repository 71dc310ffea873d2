"""The shipped fakes do what they say (their producer contract is in test_bus.py)."""

import pytest

from app.bus import Outgoing
from app.codec import Decoder
from app.errors import DeliveryFailed
from app.events import AnyRide, AnyUpload
from app.testing import START, Clock, Events, MemoryBus, MemoryRegistry, outgoing, record


async def test_a_bus_that_is_down_delivers_nothing() -> None:
    bus = MemoryBus()
    bus.down = True
    with pytest.raises(DeliveryFailed):
        await bus.send([Outgoing("t", b"k", b"v")])
    bus.down = False
    await bus.send([Outgoing("t", b"k", b"v")])
    assert [found.value for found in bus.records("t")] == [b"v"]


async def test_records_bear_the_time_of_the_clock() -> None:
    clock = Clock()
    bus = MemoryBus(1, clock)
    await bus.send([Outgoing("t", None, b"1")])
    clock.advance(seconds=2)
    await bus.send([Outgoing("t", None, b"2")])
    start_ms = START.timestamp() * 1000
    assert [found.timestamp_ms - start_ms for found in bus.records("t")] == [0, 2000]


def test_events_are_valid_and_read_back_the_same() -> None:
    events = Events("ns")
    ride, upload = events.ride(passengers=3), events.upload(text="hello")
    assert Decoder[AnyRide](AnyRide).decode(record(ride).value) == ride
    assert Decoder[AnyUpload](AnyUpload).decode(outgoing(upload, "uploads").value) == upload
    assert ride.event_id != upload.event_id


def test_a_registry_in_memory_gives_the_manifest_it_was_given() -> None:
    artifact = MemoryRegistry({"eta": {"speed": 20}}, version="7").load("eta")
    assert (artifact.version, artifact.manifest) == ("7", {"speed": 20})
