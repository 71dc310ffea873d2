"""The pages as they are served: complete, from here alone, and with headers that keep them so."""

import asyncio
import re

import httpx
import pytest
from websockets.asyncio.client import connect

PAGES = ("/", "/docs")


@pytest.mark.parametrize("path", PAGES)
async def test_all_a_page_loads_is_served_here(client, path) -> None:
    page = await client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 3
    for address in loaded:
        assert address.startswith("/")
        assert (await client.get(address)).status_code == 200


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_may_run_no_script_but_ours_and_be_in_no_frame(client, path) -> None:
    page = await client.get(path)
    policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert re.search(r"<script(?![^>]*\ssrc=)", page.text) is None


async def test_the_docs_are_of_our_own_document(client) -> None:
    script = (await client.get("/static/js/docs.js")).text
    (address,) = re.findall(r'url: "([^"]+)"', script)
    assert (await client.get(address)).json()["info"]["title"] == "Millrace"


async def test_nothing_is_sniffed_and_no_address_travels_on(serve, namespace) -> None:
    async with serve() as served:
        async with httpx.AsyncClient(base_url=served.url) as client:
            paths = ("/", "/docs", "/static/style.css", "/v1/status", "/nowhere", "/metrics")
            answers = [dict((await client.get(path)).headers) for path in paths]
        async with connect(served.live(namespace)) as socket:
            assert socket.response is not None
            answers.append(dict(socket.response.headers.raw_items()))
        answers.append(await _answer_to_nonsense(served.port))
    for answer in answers:
        headers = {name.lower(): value for name, value in answer.items()}
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def _answer_to_nonsense(port: int) -> dict[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"nonsense\r\n\r\n")
    head = (await asyncio.wait_for(reader.read(4096), 10)).decode().split("\r\n\r\n")[0]
    writer.close()
    return dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
