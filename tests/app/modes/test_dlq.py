"""Dead letters are found by the record they are about, and go back as they were, once."""

from datetime import UTC, datetime
from typing import Any

from app.modes.dead_letters import dead_letter
from app.modes.dlq import Box, look, send_back
from app.testing import outgoing, record


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
    assert (back.partition, back.key, back.value, back.headers) == (2, origin.key, origin.value, origin.headers)
    assert (await mine()).origins == []
    everything = await look(kafka, stage.settings.partitions, everything=True)
    assert stage.topic.name in {found.topic for found in everything.origins}
    assert outgoing(ride, stage.topic.name).value == back.value
