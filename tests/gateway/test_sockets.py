"""The live channel as a user has it: websocket and SSE, over real connections and a real Redis."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.follow import Limits


async def hear(websocket: ClientConnection, count: int) -> list[dict]:
    """The next messages, heartbeats left out."""
    heard: list[dict] = []
    async with asyncio.timeout(10):
        while len(heard) < count:
            message = json.loads(await websocket.recv())
            if message["type"] != "heartbeat":
                heard.append(message)
    return heard


async def chatter(websocket: ClientConnection) -> None:
    for _ in range(200):
        await websocket.send("hello?")
    await hear(websocket, 2)


def names(messages: list[dict]) -> list[str]:
    return [message["event_id"] for message in messages]


async def test_first_the_state_of_things_then_what_happens(served, decide, tell, namespace) -> None:
    made = decide(namespace, f"{namespace}-0")
    async with connect(served.live(namespace)) as websocket:
        [connected] = await hear(websocket, 1)
        assert (connected["type"], connected["recovered"]) == ("connected", False)
        assert [held["decision_id"] for held in connected["snapshot"]] == [made.decision_id]
        await tell(namespace, "a", "b")
        heard = await hear(websocket, 2)
    assert names(heard) == ["a", "b"]
    assert [message["type"] for message in heard] == ["decision", "decision"]


async def test_a_user_hears_only_what_is_theirs_and_an_operator_everything(served, tell, namespace) -> None:
    async with (
        connect(served.live(f"{namespace}-1")) as one,
        connect(served.live(f"{namespace}-2")) as two,
        connect(served.live(f"{namespace}-op", operator=True)) as operator,
    ):
        for websocket in (one, two, operator):
            await hear(websocket, 1)
        await tell(f"{namespace}-1", "a")
        await tell(f"{namespace}-2", "b")
        await tell(f"{namespace}-1", "c")
        assert names(await hear(one, 2)) == ["a", "c"]
        assert names(await hear(two, 1)) == ["b"]
        assert names(await hear(operator, 3)) == ["a", "b", "c"]
    with pytest.raises(InvalidStatus) as refused:
        await connect(served.live(namespace) + "&all=1")
    assert refused.value.response.status_code == 403


async def test_any_gateway_resumes_exactly_where_another_stopped(serve, tell, namespace) -> None:
    async with serve() as first, serve() as second:
        async with connect(first.live(namespace)) as websocket:
            await hear(websocket, 1)
            await tell(namespace, "a", "b")
            last_id = (await hear(websocket, 2))[0]["id"]  # "b" was on its way when the connection broke
        await tell(namespace, "c")
        async with connect(second.live(namespace, last_id)) as websocket:
            await tell(namespace, "d")
            connected, *heard = await hear(websocket, 4)
            assert (connected["recovered"], connected["snapshot"]) == (True, [])
            assert names(heard) == ["b", "c", "d"]


async def test_resuming_in_the_middle_of_a_stream_has_no_gap_and_no_double(served, tell, namespace) -> None:
    """Messages come in while connections come and go: each reader sees one unbroken run."""
    wanted = [f"e{n}" for n in range(300)]

    async def write() -> None:
        for start in range(0, 300, 5):
            await tell(namespace, *wanted[start : start + 5])

    async with connect(served.live(namespace)) as websocket:
        last_id = (await hear(websocket, 1))[0]["id"]
    writing = asyncio.create_task(write())
    heard: list[dict] = []
    while len(heard) < 300:
        async with connect(served.live(namespace, last_id), max_queue=None) as websocket:
            [connected] = await hear(websocket, 1)
            assert connected["recovered"] is True
            heard += await hear(websocket, min(37, 300 - len(heard)))
            last_id = heard[-1]["id"]
    await writing
    assert names(heard) == wanted


async def test_history_that_is_gone_is_said_to_be_gone(served, settings, decide, tell, namespace) -> None:
    async with connect(served.live(namespace)) as websocket:
        await hear(websocket, 1)
        await tell(namespace, "a")
        last_id = (await hear(websocket, 1))[0]["id"]
        redis = Redis.from_url(settings.redis)
        await redis.flushall()
        await redis.aclose()
        made = decide(namespace, f"{namespace}-0")
        await tell(namespace, f"{namespace}-0")
        [again] = await hear(
            websocket, 1
        )  # also on the connection that stood all the time: it cannot know what it missed
        assert (again["type"], again["recovered"]) == ("connected", False)
    for bad in (last_id, "nonsense", "0" * 3000):
        async with connect(served.live(namespace, bad)) as websocket:
            [connected] = await hear(websocket, 1)
            assert connected["recovered"] is False
            assert [held["decision_id"] for held in connected["snapshot"]] == [made.decision_id]


async def test_a_slow_reader_holds_up_nobody_and_misses_nothing(served, tell, namespace) -> None:
    """It is far behind what its queue holds, so it is served from the log, at its own pace."""
    wanted = [f"e{n}" for n in range(900)]
    async with (
        connect(served.live(namespace), max_queue=1) as slow,
        connect(served.live(namespace)) as quick,
    ):
        await hear(slow, 1)
        await hear(quick, 1)
        for start in range(0, 900, 100):
            await tell(namespace, *wanted[start : start + 100])
        assert names(await hear(quick, 900)) == wanted
        assert names(await hear(slow, 900)) == wanted


async def test_a_reader_that_takes_nothing_is_cut_off(serve, tell, namespace, eventually) -> None:
    async with serve(limits=Limits(stall_s=0.3)) as served:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", served.port))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=1024)
        path = served.live(namespace).partition("/v1")[2]
        writer.write(
            f"GET /v1{path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: served.gateway.live.connections == 1)
        for start in range(0, 30_000, 500):  # 15 MB: more than the kernel keeps for us
            if not served.gateway.live.connections:
                break
            await tell(namespace, *(f"e{start + n}" for n in range(500)))
        await eventually(lambda: served.gateway.live.connections == 0)
        await eventually(lambda: not served.running.server_state.connections)
        writer.close()


async def test_heartbeats_when_nothing_happens(serve, namespace) -> None:
    async with serve(limits=Limits(heartbeat_s=0.05)) as served, connect(served.live(namespace)) as websocket:
        messages = [json.loads(await websocket.recv()) for _ in range(3)]
    assert [message["type"] for message in messages] == ["connected", "heartbeat", "heartbeat"]
    assert messages[1]["id"] == messages[0]["id"]


async def test_a_connection_ends_with_its_token(served, namespace) -> None:
    async with connect(served.live(namespace, ttl=timedelta(seconds=1))) as websocket:
        await hear(websocket, 1)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(websocket, 1)
    assert closed.value.rcvd.code == 4401


async def test_only_so_many_connections_of_one_user(serve, namespace) -> None:
    async with serve(limits=Limits(per_user=2)) as served, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(connect(served.live(namespace)))
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.live(namespace))
        assert refused.value.response.status_code == 429
        async with connect(served.live(f"{namespace}-other")) as other:
            await hear(other, 1)


async def test_a_client_has_nothing_to_say(served, namespace) -> None:
    async with connect(served.live(namespace)) as websocket:
        with pytest.raises(ConnectionClosed) as closed:
            await chatter(websocket)
    assert closed.value.rcvd.code == 1008
    async with connect(served.live(namespace)) as websocket:
        await websocket.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(websocket, 2)
    assert closed.value.rcvd.code == 1009


async def test_a_foreign_page_may_not_connect(serve, namespace) -> None:
    async with serve(origins="https://app.example") as served:
        own = f"http://127.0.0.1:{served.port}"
        for origin in (own, "https://app.example", None):
            async with connect(served.live(namespace), origin=origin) as websocket:
                await hear(websocket, 1)
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{served.port + 1}"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(served.live(namespace), origin=origin)
            assert refused.value.response.status_code == 403


async def test_a_gateway_that_stops_says_so_and_loses_nothing(serve, tell, namespace) -> None:
    async with serve() as stays:
        async with serve() as stops, connect(stops.live(namespace)) as websocket:
            last_id = (await hear(websocket, 1))[0]["id"]
            stops.running.should_exit = True
            [goodbye] = await hear(websocket, 1)
            assert goodbye["type"] == "reconnect"
            with pytest.raises(ConnectionClosed) as closed:
                await hear(websocket, 1)
            assert closed.value.rcvd.code == 1012
        await tell(namespace, "a")
        async with connect(stays.live(namespace, last_id)) as websocket:
            connected, heard = await hear(websocket, 2)
    assert (connected["recovered"], heard["event_id"]) == (True, "a")


async def test_server_sent_events_carry_the_same(served, tell, namespace) -> None:
    headers = {"Authorization": f"Bearer {served.token(namespace)}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=10) as client:
        async with client.stream("GET", "/v1/live") as response:
            assert response.headers["content-type"] == "text/event-stream"
            lines = response.aiter_lines()
            first = await _event(lines)
            await tell(namespace, "a")
            second = await _event(lines)
        await tell(namespace, "b")
        async with client.stream("GET", "/v1/live", headers={"Last-Event-ID": second["id"]}) as response:
            lines = response.aiter_lines()
            back = [await _event(lines), await _event(lines)]
        denied = await client.get("/v1/live", headers={"Authorization": "Bearer x"})
    assert (first["event"], second["event"]) == ("connected", "decision")
    assert json.loads(back[0]["data"])["recovered"] is True
    assert json.loads(back[1]["data"])["event_id"] == "b"
    assert back[1]["id"] == json.loads(back[1]["data"])["id"]
    assert denied.status_code == 401


async def test_an_event_stream_of_everybody_is_resumed_where_its_own_history_was(served, tell, namespace) -> None:
    """A browser sends back the last `id:` it saw; another user's is a place in another history."""
    headers = {"Authorization": f"Bearer {served.token(namespace, operator=True)}"}
    async with (
        httpx.AsyncClient(base_url=served.url, headers=headers, timeout=10) as client,
        client.stream("GET", "/v1/live?all=1") as response,
    ):
        lines = response.aiter_lines()
        begun = await _event(lines)
        await tell(f"{namespace}-other", "a")
        theirs = await _event(lines)
        await tell(namespace, "b")
        own = await _event(lines)
    assert [json.loads(event["data"])["event_id"] for event in (theirs, own)] == ["a", "b"]
    assert (begun.get("id") is None, theirs.get("id"), own.get("id") is None) == (False, None, False)


async def test_a_lost_subscription_is_made_up_for(served, settings, tell, namespace, eventually) -> None:
    """Redis drops the gateway's connections; what is told meanwhile reaches the standing websocket all the same."""
    redis = Redis.from_url(settings.redis)
    async with connect(served.live(namespace)) as websocket:
        await hear(websocket, 1)
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await tell(namespace, "a")
        assert names(await hear(websocket, 1)) == ["a"]
        await eventually(lambda: served.gateway.hub.connected)
        await tell(namespace, "b")
        assert names(await hear(websocket, 1)) == ["b"]
    await redis.aclose()


async def _event(lines) -> dict[str, str]:
    """The next server-sent event."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(10):
        async for line in lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                return fields
    raise AssertionError("the stream ended")
