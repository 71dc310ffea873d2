"""The gateway as a process: told to end, it ends well."""

import asyncio
import os
import signal
import sys

import httpx
import pytest

from app.services.process import free_port
from app.settings import Settings

PATIENCE_S = 60.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_gateway_that_is_told_to_end_has_not_failed(settings: Settings, number: int) -> None:
    port = str(free_port())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")} | {
        "MILLRACE_KAFKA": str(settings.kafka),
        "MILLRACE_REDIS": str(settings.redis),
        "MILLRACE_DATABASE": settings.database_url,
        "MILLRACE_DATA_DIR": str(settings.data_dir),
        "MILLRACE_PORT": port,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "cli", "gateway", env=environment)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while process.returncode is None and not await _answers(port):  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.1)
            process.send_signal(number)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answers(port: str) -> bool:
    async with httpx.AsyncClient(timeout=2) as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/health/live")).is_success
        except httpx.TransportError:
            return False
