"""The hub ends when it is told to, whatever it is doing."""

import asyncio

import pytest

from app.settings import Settings
from gateway.hub import Hub


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_a_hub_told_to_end_while_it_connects_ends(settings: Settings, turns: int) -> None:
    running = asyncio.create_task(Hub(str(settings.redis)).run())
    for _ in range(turns):  # each time it has come a little further
        await asyncio.sleep(0)
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=5)
    assert ended
