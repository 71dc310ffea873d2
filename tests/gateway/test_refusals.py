"""What the HTTP calls refuse, and how: the status, the field, and what to do about it; never an error of ours."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.bus import Delivered, KafkaProducer, Outgoing
from app.testing import MemoryBus
from app.tokens import Tokens, read_secret
from gateway.outbox import IN_FLIGHT

PAYMENT = {"card_id": "c", "terminal_id": "t", "amount_usd": 1.0, "source": "pos"}
EVENT = {"specversion": "1.0", "id": "e", "source": "/test", "type": "millrace.ride.requested.v1", "data": {}}
RIDE = {"pickup": {"zone": 7}, "dropoff": {"lat": 40.7, "lon": -73.9}, "passengers": 2}
GOOD = json.dumps(RIDE).encode()

BAD = {
    "empty": (b"", ""),
    "blank": (b" \n", ""),
    "not JSON": (b"{", ""),
    "not UTF-8": (GOOD[:-1] + b', "ride_id": "\xff"}', ""),
    "an array": (b"[]", ""),
    "null": (b"null", ""),
    "no pickup": (b'{"dropoff": {"zone": 1}}', "pickup"),
    "NaN": (b'{"pickup": {"lat": NaN, "lon": 1}, "dropoff": {"zone": 1}}', ""),
    "Infinity": (b'{"pickup": {"lat": Infinity, "lon": 1}, "dropoff": {"zone": 1}}', ""),
    "1e999": (b'{"pickup": {"lat": 1e999, "lon": 1}, "dropoff": {"zone": 1}}', "pickup.lat"),
    "4,000 digits": (b'{"pickup": {"zone": ' + b"9" * 4000 + b'}, "dropoff": {"zone": 1}}', "pickup.zone"),
    "out of range": (b'{"pickup": {"zone": 266}, "dropoff": {"zone": 1}}', "pickup.zone"),
    "both": (b'{"pickup": {"zone": 1, "lat": 1, "lon": 1}, "dropoff": {"zone": 1}}', "pickup"),
    "neither": (b'{"pickup": {}, "dropoff": {"zone": 1}}', "pickup"),
    "wrong type": (b'{"pickup": {"zone": "1"}, "dropoff": {"zone": 1}}', "pickup.zone"),
    "a fraction": (GOOD.replace(b": 2}", b": 2.5}"), "passengers"),
    "true": (GOOD.replace(b": 2}", b": true}"), "passengers"),
    "unknown field": (GOOD.replace(b"passengers", b"pasengers"), "pasengers"),
    "unknown inside": (b'{"pickup": {"zone": 1, "zon": 2}, "dropoff": {"zone": 1}}', "pickup.zon"),
    "unprintable name": (GOOD.replace(b"passengers", b"<script>"), "?"),
    "a key twice": (b'{"pickup": {"zone": 1, "zone": 2}, "dropoff": {"zone": 1}}', "zone"),
    "NUL": (GOOD[:-1] + b', "ride_id": "a\\u0000b"}', ""),
    "bad id": (GOOD[:-1] + b', "ride_id": "a/../b"}', "ride_id"),
    "long id": (GOOD[:-1] + b', "ride_id": "' + b"a" * 65 + b'"}', "ride_id"),
    "year 1": (GOOD[:-1] + b', "at": "0001-01-01T00:00:00+23:00"}', "at"),
    "year 9999": (GOOD[:-1] + b', "pickup_at": "9999-12-31T23:59:59-23:00"}', "pickup_at"),
    "no offset": (GOOD[:-1] + b', "at": "2026-01-01T00:00:00"}', "at"),
    "deep": (b'{"pickup":' + b"[" * 100_000, "pickup"),
    "deep and unknown": (b'{"x":' + b'{"x":' * 50_000, "x"),
    "another's name": (GOOD[:-1] + b', "user_id": "somebody-else"}', "user_id"),
    "another type": (GOOD[:-1] + b', "type": "millrace.ride.requested.v9"}', "type"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_body_is_refused_by_its_field(client, bus, name: str) -> None:
    body, field = BAD[name]
    response = await client.post("/v1/rides", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json().get("field", "") == field
    assert response.json()["title"] == "Unprocessable Entity"
    assert bus.records("rides") == []


async def test_nul_is_told_from_what_only_looks_like_it(client) -> None:
    body = b'{"title": "backslash \\\\u0000 spelt out"}'
    response = await client.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 202


async def test_a_refusal_does_not_repeat_what_was_sent(client) -> None:
    secret = "4111-1111-1111-1111"
    body = {**RIDE, "payment": secret, "channel": secret}
    response = await client.post("/v1/rides", json=body)
    assert response.status_code == 422
    assert secret not in response.text


async def test_too_large_a_body_is_refused_at_once_and_while_it_comes(client) -> None:
    async def endless():
        for _ in range(50):
            yield b" " * 2**20

    declared = await client.post("/v1/rides", content=b" " * (2**18 + 1), headers={"Content-Type": "application/json"})
    assert declared.status_code == 413
    streamed = await client.post("/v1/rides", content=endless(), headers={"Content-Type": "application/json"})
    assert streamed.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({"Content-Type": "text/plain"}, 415, "Content-Type"),
        ({"Content-Type": ""}, 415, "Content-Type"),
        ({"Content-Type": "application/json; charset=latin-1"}, 415, "Content-Type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ({"Content-Type": "application/json", "Idempotency-Key": "a b"}, 422, "Idempotency-Key"),
        ({"Content-Type": "application/json; charset=UTF-8", "traceparent": "nonsense"}, 202, None),
    ],
)
async def test_headers_count(client, headers, status, field) -> None:
    response = await client.post("/v1/rides", content=GOOD, headers=headers)
    assert (response.status_code, response.json().get("field")) == (status, field)


async def test_tokens_that_do_not_do(served, settings, namespace) -> None:
    good = served.token(namespace)
    tokens = Tokens(read_secret(settings))
    head, claims, signature = good.split(".")
    bad = {
        "not one": "x",
        "cut": good[:-4],
        "altered": f"{head}.{claims[:-2]}xx.{signature}",
        "unsigned": "eyJhbGciOiJub25lIn0." + claims + ".",
        "another secret": Tokens(b"another secret, also 32 bytes long").mint(namespace),
        "expired": tokens.mint(namespace, ttl=timedelta(seconds=-60)),
        "long": "a" * 5000,
        "deep": "W1tb" * 1000 + ".a.b",
    }
    async with httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.post("/v1/rides", json=RIDE)).status_code == 401
        for name, token in bad.items():
            response = await client.post("/v1/rides", json=RIDE, headers={"Authorization": f"Bearer {token}"})
            assert response.status_code == 401, name
            assert response.headers["www-authenticate"].startswith("Bearer")
        narrow = {"Authorization": f"Bearer {tokens.mint(namespace, ('live:read',))}"}
        assert (await client.post("/v1/rides", json=RIDE, headers=narrow)).status_code == 403
        assert (await client.get("/v1/status", headers=narrow)).status_code == 403


async def test_unknown_paths_and_methods_are_problems_too(client) -> None:
    for response, status in (
        (await client.get("/v1/nothing"), 404),
        (await client.get("/v1/rides"), 405),
        (await client.post("/v1/rides/a%2Fb/started", json={}), 404),
        (await client.post("/v1/rides/%00/started", json={}), 422),
    ):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"]
    assert "POST" in (await client.get("/v1/rides")).json()["detail"]
    assert "/docs" in (await client.get("/v1/nothing")).json()["detail"]


@pytest.mark.parametrize(
    ("path", "media_type", "body", "field", "choice"),
    [
        ("/v1/transactions", "application/json", {**PAYMENT, "source": "moon"}, "source", "atm, online, pos"),
        ("/v1/events", "application/cloudevents+json", {**EVENT, "specversion": "2.0"}, "specversion", "1.0"),
        ("/v1/events", "application/cloudevents+json", {**EVENT, "type": "ride"}, "type", "millrace.ride.requested.v1"),
    ],
)
async def test_who_chooses_what_there_is_not_is_told_what_there_is(
    client, path: str, media_type: str, body: dict[str, object], field: str, choice: str
) -> None:
    refused = await client.post(path, json=body, headers={"Content-Type": media_type})
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert choice in refused.json()["detail"]
    assert "moon" not in refused.text


async def test_503_when_kafka_refuses_or_is_not_there(serve, client, bus, namespace) -> None:
    bus.down = True
    refused = await client.post("/v1/rides", json=RIDE)
    async with serve(producer=KafkaProducer("127.0.0.1:1")) as served:
        headers = {"Authorization": f"Bearer {served.token(namespace)}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=8) as other:
            away = await other.post("/v1/rides", json=RIDE)
    for response in (refused, away):
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["content-type"] == "application/problem+json"


class Stalled(MemoryBus):
    """Delivers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        await self.goes_on.wait()
        return await super().send(records)


async def test_an_overload_is_not_taken_for_an_absent_kafka(serve, eventually, namespace) -> None:
    bus = Stalled()
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    async with serve(producer=bus) as served:
        bearer = {"Authorization": f"Bearer {served.token(namespace)}"}
        async with httpx.AsyncClient(base_url=served.url, headers=bearer, timeout=20) as client:
            batches = [
                [{**EVENT, "id": f"e-{batch}-{n}", "data": RIDE} for n in range(500)]
                for batch in range(IN_FLIGHT // 500)
            ]
            accepted = [asyncio.create_task(client.post("/v1/events", json=each, headers=headers)) for each in batches]
            await eventually(lambda: served.gateway.outbox.held == IN_FLIGHT)
            refused = await client.post("/v1/rides", json=RIDE)
            bus.goes_on.set()
            assert [response.status_code for response in await asyncio.gather(*accepted)] == [202] * len(accepted)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "too many events" in refused.json()["detail"]
    assert len(bus.records("rides")) == IN_FLIGHT


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    [*RIDE, "ride_id", "event_id", "at", "pickup_at", "payment", "type", "user_id", "data", "id"]
)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(field_names, json_values, max_size=4).map(lambda more: json.dumps({**RIDE, **more}).encode()),
)
kinds = st.sampled_from(
    ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/html", "", ";;"]
)
header_text = st.text(st.characters(codec="latin-1", min_codepoint=0x21, exclude_characters="\x7f"), max_size=40)
paths = st.sampled_from(["/v1/rides", "/v1/uploads", "/v1/events", "/v1/rides/r1/positions", "/v1/rides/%7F/started"])


@given(data=st.data())
@hypothesis_settings(max_examples=60, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
async def test_nothing_a_client_sends_is_our_error(client, data) -> None:
    for _ in range(3):
        headers = {
            "content-type": data.draw(kinds),
            "ce-specversion": "1.0",
            "ce-source": "/x",
            "ce-id": "e1",
            "ce-type": "millrace.ride.requested.v1",
            data.draw(st.sampled_from(["ce-id", "ce-time", "traceparent", "idempotency-key"])): data.draw(header_text),
        }
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        response = await client.post(data.draw(paths), content=data.draw(bodies), headers=raw)
        assert response.status_code < 500, response.request
