from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random

import pytest

from app.codec import Decoder, Record, header
from app.errors import DeliveryFailed, InvalidMessage
from app.events import AnyEvent, AnyRide, AnyUpload
from app.testing import MemoryBus
from simulator.findings import Findings
from simulator.mass import POISONS, MassLoader
from simulator.pace import Due
from simulator.trips import TripMaker
from simulator.uploads import UploadMaker

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
decoder: Decoder[AnyEvent] = Decoder(AnyRide | AnyUpload)


def events(count: int) -> list[AnyEvent]:
    makers = TripMaker("m"), UploadMaker("m")
    return [event for n in range(count) for make in makers for event in make(n, NOW, Random(n))]


async def due(of: list[AnyEvent]) -> AsyncIterator[Due]:
    for event in of:
        yield Due(event, 0.0)


def everything(bus: MemoryBus) -> list[Record]:
    return [record for topic in ("rides", "uploads") for record in bus.records(topic)]


async def test_every_event_lies_on_its_topic_with_its_context() -> None:
    bus, sent, findings = MemoryBus(), events(40), Findings()
    loader = MassLoader(bus, witness=findings, rng=Random(1))
    await loader.run(due(sent))
    records = everything(bus)
    assert sorted(decoder.decode(r.value).event_id for r in records) == sorted(e.event_id for e in sent)
    assert all(header(r.headers, "ce_id") == decoder.decode(r.value).event_id for r in records)
    assert all(r.key == decoder.decode(r.value).user_id.encode() for r in records)
    assert all(decoder.decode(r.value).kind == r.topic[:-1] for r in records)
    assert (loader.tally.accepted, loader.tally.subjects) == (len(sent), len(findings.asked))


async def test_poison_comes_in_its_share_and_no_good_event_is_lost() -> None:
    bus, sent = MemoryBus(), events(60)
    loader = MassLoader(bus, poison=0.2, rng=Random(1))
    await loader.run(due(sent))
    bad = [record for record in everything(bus) if header(record.headers, "poison")]
    assert len(bad) == loader.tally.poisoned
    assert 0.15 < len(bad) / len(everything(bus)) < 0.25
    assert {header(record.headers, "poison") for record in bad} == set(POISONS)
    assert len(everything(bus)) - len(bad) == len(sent)
    for record in bad:
        with pytest.raises(InvalidMessage):
            decoder.decode(record.value, record.headers)


class Unsteady(MemoryBus):
    """A bus whose acknowledgements are lost now and then, as a broker's are."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def send(self, records):  # type: ignore[no-untyped-def]  # as MemoryBus
        if self.failures:
            self.failures -= 1
            raise DeliveryFailed("no acknowledgement")
        return await super().send(records)


async def test_a_batch_that_was_not_acknowledged_is_sent_again() -> None:
    bus, sent = Unsteady(2), events(5)
    loader = MassLoader(bus, rng=Random(1))
    await loader.run(due(sent))
    assert len(everything(bus)) == len(sent)
    assert loader.tally.retries == 2


async def test_a_broker_that_stays_away_ends_the_run() -> None:
    with pytest.RaisesGroup(DeliveryFailed):
        await MassLoader(Unsteady(10**6), patience_s=0.2).run(due(events(1)))
