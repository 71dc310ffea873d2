"""Dead letters are found by the record they are about, and go back as they were, once."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.bus import Outgoing
from app.codec import Headers, Record
from app.errors import ServiceUnavailable
from app.modes.dlq import Box, look, send_back
from app.modes.scoring.dead_letters import MOST_BYTES, dead_letter
from app.services.process import free_port
from app.testing import outgoing, record
from app.topics import DEAD_LETTERS


async def test_a_record_two_agents_could_not_handle_is_sent_back_once_and_then_gone(stage: Any) -> None:
    ride, now = stage.events.ride(), datetime(2026, 1, 1, tzinfo=UTC)
    origin = record(ride, stage.topic.name, partition=2, offset=41)
    await stage.put([dead_letter(origin, agent, "invalid_message", "no good", now) for agent in ("eta", "cost")])
    kafka = str(stage.settings.kafka)

    async def mine() -> Box:
        box = await look(kafka, stage.settings.partitions)
        return Box([found for found in box.origins if found.topic == stage.topic.name], box.ends)

    (found,) = (await mine()).origins
    assert (found.partition, found.offset, sorted(found.said)) == (2, 41, ["cost", "eta"])
    assert found.said["eta"][:2] == ("invalid_message", "no good")

    assert await send_back(kafka, stage.producer, await mine()) == 1
    (back,) = await stage.read(stage.topic.name)
    assert (back.partition, back.key, back.value) == (2, origin.key, origin.value)
    assert tuple(back.headers) == tuple(origin.headers)
    assert (await mine()).origins == []
    everything = await look(kafka, stage.settings.partitions, everything=True)
    assert stage.topic.name in {found.topic for found in everything.origins}
    assert outgoing(ride, stage.topic.name).value == back.value


async def test_rows_of_one_record_are_sent_back_each(stage: Any) -> None:
    now, topic = datetime(2026, 1, 1, tzinfo=UTC), stage.topic.name
    rows = [Record(topic, 1, 7, 0, None, value) for value in (b"row 0", b"row 3")]
    await stage.put([dead_letter(each, agent, "invalid_message", "no good", now) for each in rows for agent in "ab"])
    box = await look(str(stage.settings.kafka), stage.settings.partitions)
    mine = [found for found in box.origins if found.topic == topic]
    assert sorted((found.offset, found.value, len(found.said)) for found in mine) == [
        (7, b"row 0", 2),
        (7, b"row 3", 2),
    ]


async def test_a_record_too_large_for_a_dead_letter_is_named_and_not_sent_back(stage: Any) -> None:
    now, topic = datetime(2026, 1, 1, tzinfo=UTC), stage.topic.name
    whole, cut = (Record(topic, 1, size, 0, b"k", b"x" * size) for size in (MOST_BYTES - 1, MOST_BYTES))
    await stage.put([dead_letter(each, "eta", "invalid_message", "no good", now) for each in (whole, cut)])
    box = await look(str(stage.settings.kafka), stage.settings.partitions)
    origins = {found.offset: found for found in box.origins if found.topic == topic}
    assert {offset: found.omitted_bytes for offset, found in origins.items()} == {
        whole.offset: 0,
        cut.offset: MOST_BYTES + 1,
    }
    assert origins[whole.offset].value == whole.value
    assert origins[cut.offset].value is None
    assert await send_back(str(stage.settings.kafka), stage.producer, Box([origins[cut.offset]], box.ends)) == 0


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("dlq.topic", b"rides"), ("dlq.partition", b"first"), ("dlq.offset", b"0")),
        (("dlq.topic", b"\xff"), ("dlq.partition", b"0"), ("dlq.offset", b"0")),
    ],
)
async def test_what_somebody_else_wrote_there_hides_nothing(stage: Any, headers: Headers) -> None:
    now, topic = datetime(2026, 1, 1, tzinfo=UTC), stage.topic.name
    ours = Record(topic, 1, 7, 0, None, b"ours")
    await stage.put([Outgoing(DEAD_LETTERS.name, b"k", b"foreign", headers)])
    await stage.put([dead_letter(ours, "eta", "invalid_message", "no good", now)])
    box = await look(str(stage.settings.kafka), stage.settings.partitions)
    assert [found.value for found in box.origins if found.topic == topic] == [b"ours"]


async def test_a_broker_that_is_away_is_said_to_be() -> None:
    with pytest.raises(ServiceUnavailable):
        await look(f"127.0.0.1:{free_port()}", 1)
