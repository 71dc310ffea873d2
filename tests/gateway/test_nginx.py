"""Two gateways behind the nginx of `deploy/nginx.conf`: whatever a client does works through it, and one gateway may go."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from app.services.process import free_port

CONFIG = Path(__file__).parents[2] / "deploy" / "nginx.conf"
SCRATCH = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
RIDE = {"pickup": {"zone": 7}, "dropoff": {"zone": 9}}
pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="nginx is not installed (apt-get install nginx-light)"
)


def configuration(directory: Path, port: int, gateways: list[int]) -> str:
    """The file that is shipped, with the addresses of this test; `resolve` is of a newer nginx than distributions have."""
    text = CONFIG.read_text(encoding="utf-8")
    temporary = "".join(f"{name}_temp_path {directory / name};\n" for name in SCRATCH)
    replaced = {
        "gateway-a:8000 resolve": f"127.0.0.1:{gateways[0]}",
        "gateway-b:8000 resolve": f"127.0.0.1:{gateways[1]}",
        "listen 8000": f"listen 127.0.0.1:{port}",
        "/tmp/nginx.pid": str(directory / "nginx.pid"),  # of the container
        "http {": f"http {{\n{temporary}",
        "worker_processes auto": "worker_processes 1",
        "worker_connections 16384": "worker_connections 512",
        "worker_rlimit_nofile 40000;": "",
    }
    for old, new in replaced.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def nginx(directory: Path, gateways: list[int]) -> AsyncIterator[str]:
    port, path = free_port(), directory / "nginx.conf"
    path.write_text(configuration(directory, port, gateways), encoding="utf-8")
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec("nginx", "-c", path, "-g", "daemon off;", stdout=log, stderr=log)
        try:
            await _listening(process, port)
            yield f"127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 10)


async def _listening(process: asyncio.subprocess.Process, port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        assert process.returncode is None, "nginx ended; its log says why"
        assert time.monotonic() < deadline, "nginx does not listen; its log says why"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


@pytest_asyncio.fixture
async def balanced(serve, tmp_path) -> AsyncIterator[SimpleNamespace]:
    """Two gateways behind nginx; `leave()` ends the first one."""
    async with AsyncExitStack() as first, serve() as second:
        gone = await first.enter_async_context(serve())
        async with nginx(tmp_path, [gone.port, second.port]) as address:
            yield SimpleNamespace(address=address, served=second, leave=first.aclose, log=tmp_path / "log")


async def test_calls_reach_both_gateways_and_survive_one(balanced, namespace) -> None:
    headers = {"Authorization": f"Bearer {balanced.served.token(namespace)}"}
    async with httpx.AsyncClient(base_url=f"http://{balanced.address}", headers=headers) as client:
        before = [await client.post("/v1/rides", json=RIDE) for _ in range(8)]
        upstreams = {line.split()[-2] for line in balanced.log.read_text().splitlines() if "/v1/rides" in line}
        await balanced.leave()
        after = [await client.post("/v1/rides", json=RIDE) for _ in range(8)]
        problem = await client.post("/v1/rides", json={**RIDE, "passengers": 0})
        metadata = await client.get("/v2/models/eta")
    assert [response.status_code for response in (*before, *after)] == [202] * 16
    assert len(upstreams) == 2
    assert (problem.status_code, problem.json()["field"]) == (422, "passengers")
    assert metadata.json()["name"] == "eta"


async def test_the_live_channel_comes_through_at_once(balanced, tell, namespace) -> None:
    token = balanced.served.token(namespace)
    live = f"{balanced.address}/v1/live?token={token}"
    async with (
        connect(f"ws://{live}", origin=f"http://{balanced.address}") as socket,  # type: ignore[arg-type]  # an Origin is a str
        httpx.AsyncClient(timeout=10) as client,
        client.stream("GET", f"http://{live}") as events,
    ):
        await tell(namespace, "a")
        assert "ride-a" in await asyncio.wait_for(_having(aiter(socket), "ride-a"), 10)
        assert events.headers["content-type"].startswith("text/event-stream")
        assert "ride-a" in await asyncio.wait_for(_having(events.aiter_text(), "ride-a"), 10)
    assert token not in balanced.log.read_text()


async def _having(messages, what: str) -> str:
    async for message in messages:
        if what in message:
            return str(message)
    raise AssertionError("the stream has ended")


async def test_a_live_connection_is_told_to_come_again_and_finds_the_other_gateway(balanced, tell, namespace) -> None:
    url = f"ws://{balanced.address}/v1/live?token={balanced.served.token(namespace)}"
    async with connect(url) as one, connect(url) as two:  # of the two gateways
        leaving = asyncio.create_task(balanced.leave())
        ended = asyncio.create_task(one.wait_closed()), asyncio.create_task(two.wait_closed())
        done, pending = await asyncio.wait(ended, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        await leaving
        assert (len(done), len(pending)) == (1, 1)
        for task in pending:
            task.cancel()
    async with connect(url) as again:
        await tell(namespace, "b")
        assert "ride-b" in await asyncio.wait_for(_having(aiter(again), "ride-b"), 10)


async def test_no_gateway_is_a_problem_and_not_a_page(tmp_path) -> None:
    async with nginx(tmp_path, [free_port(), free_port()]) as address, httpx.AsyncClient() as client:
        response = await client.post(f"http://{address}/v1/rides", json=RIDE)
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["status"] == 503
