"""What every worker hears, outside its group."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.structs import TopicPartition

from app.bus import Outgoing
from app.codec import Record
from app.modes.consuming.hearing import Hearing


async def test_what_a_transaction_took_back_is_not_told(stage: Any, foreign: Any) -> None:
    where, told, done = TopicPartition(stage.topic.name, 0), list[bytes | None](), asyncio.Event()

    async def tell(records: Sequence[Record]) -> None:
        told.extend(record.value for record in records)
        if told[-1] == b"last":
            done.set()

    hearing = Hearing(str(stage.settings.kafka), [where], tell)
    await hearing.start()
    running = asyncio.create_task(hearing.run())
    await foreign.abort(b"never")
    await foreign.commit(b"a")
    await stage.put([Outgoing(where.topic, b"k", b"last", partition=0)])
    await asyncio.wait_for(done.wait(), 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told == [b"a", b"last"]
