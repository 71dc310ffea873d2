"""The HTTP calls: what is taken, what is refused and how; 202 means that Kafka has it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app import codec
from app.bus import Delivered, KafkaProducer, Outgoing
from app.events import AnyRide, AnyUpload, ContentUpdated, ContentUploaded, RidePositioned, RideRequested
from app.testing import MemoryBus
from app.tokens import Tokens, read_secret
from app.topics import TOPICS
from gateway.outbox import IN_FLIGHT

PAYMENT = {"card_id": "c", "terminal_id": "t", "amount_usd": 1.0, "source": "pos"}
EVENT = {"specversion": "1.0", "id": "e", "source": "/test", "type": "millrace.ride.requested.v1", "data": {}}
RIDE = {"pickup": {"zone": 7}, "dropoff": {"lat": 40.7, "lon": -73.9}, "passengers": 2}
GOOD = json.dumps(RIDE).encode()
rides, uploads = codec.Decoder(AnyRide), codec.Decoder(AnyUpload)


async def test_a_ride_is_in_kafka_when_202_comes(serve, kafka: KafkaProducer, settings, namespace) -> None:
    async with serve(producer=kafka) as served, httpx.AsyncClient(base_url=served.url) as client:
        headers = {"Authorization": f"Bearer {served.token(namespace)}"}
        response = await client.post("/v1/rides", json=RIDE, headers=headers)
    assert response.status_code == 202
    said = response.json()
    assert said.keys() == {"ride_id", "event_id", "topic", "partition", "offset", "initial_duration_min"}
    place = TopicPartition(said["topic"], said["partition"])
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka)
    await consumer.start()
    try:
        consumer.assign([place])
        consumer.seek(place, said["offset"])
        record = await asyncio.wait_for(consumer.getone(), 10)
    finally:
        await consumer.stop()
    event = rides.decode(record.value)
    assert isinstance(event, RideRequested)
    assert (event.event_id, event.ride_id, event.user_id) == (said["event_id"], said["ride_id"], namespace)
    assert record.key == namespace.encode()
    assert codec.header(record.headers, "ce_id") == said["event_id"]
    assert codec.header(record.headers, "traceparent")


@pytest.mark.parametrize(
    ("path", "body", "type_"),
    [
        ("/v1/rides/r1/started", {}, "RideStarted"),
        ("/v1/rides/r1/positions", {"lat": 40.7, "lon": -73.9, "travelled_km": 1}, "RidePositioned"),
        ("/v1/rides/r1/completed", {"duration_min": 12.5, "fare_usd": 20}, "RideCompleted"),
        ("/v1/rides/r1/cancelled", {"by": "driver", "reason": "no show"}, "RideCancelled"),
    ],
)
async def test_the_steps_of_a_ride(client, bus, path, body, type_) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 202
    event = rides.decode(bus.records("rides")[-1].value)
    assert type(event).__name__ == type_
    assert event.ride_id == response.json()["ride_id"] == "r1"


async def test_an_upload_and_its_update(client, bus) -> None:
    first = await client.post("/v1/uploads", json={"title": "a day at sea", "tags": ["boat"]})
    upload_id = first.json()["upload_id"]
    again = await client.post("/v1/uploads", json={"upload_id": upload_id, "title": "two days", "update": True})
    lost = await client.post("/v1/uploads", json={"title": "which?", "update": True})
    assert (first.status_code, again.status_code, lost.status_code) == (202, 202, 422)
    assert lost.json()["field"] == "upload_id"
    events = [uploads.decode(record.value) for record in bus.records("uploads")]
    assert [type(event) for event in events] == [ContentUploaded, ContentUpdated]
    assert {event.upload_id for event in events} == {upload_id}


async def test_a_resend_is_the_same_event_about_the_same_ride(client) -> None:
    first = await client.post("/v1/rides", json=RIDE, headers={"Idempotency-Key": "k-1"})
    second = await client.post("/v1/rides", json={**RIDE, "event_id": "k-1"})
    assert first.json()["event_id"] == second.json()["event_id"] == "k-1"
    assert first.json()["ride_id"] == second.json()["ride_id"]


async def test_cloudevents_in_every_mode(client, bus) -> None:
    type_ = "millrace.ride.positioned.v1"
    data = {"ride_id": "r1", "lat": 1.5, "lon": 2.5}
    event = {"specversion": "1.0", "id": "e1", "source": "/car", "type": type_, "time": "2026-01-01T00:00:00Z"}
    binary = {f"ce-{name}": value for name, value in event.items()}
    structured = {"Content-Type": "application/cloudevents+json"}
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    one = {**event, "data": data, "extension": "passed over"}
    answers = [
        await client.post("/v1/events", json=data, headers=binary),
        await client.post("/v1/events", content=json.dumps(one), headers=structured),
        await client.post("/v1/events", content=json.dumps([one, {**one, "id": "e2"}]), headers=batch),
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [receipt["event_id"] for receipt in answers[2].json()] == ["e1", "e2"]
    events = [rides.decode(record.value) for record in bus.records("rides")]
    assert len(set(events[:3])) == 1
    assert events[0].at.isoformat() == "2026-01-01T00:00:00+00:00"
    assert isinstance(events[0], RidePositioned)
    bad = [one, {**one, "id": "e3", "data": {**data, "lat": 91}}]
    refused = await client.post("/v1/events", content=json.dumps(bad), headers=batch)
    assert (refused.status_code, refused.json()["field"], len(bus.records("rides"))) == (422, "[1].data.lat", 4)


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


async def test_a_decision_is_its_owners_alone(served, decide, client, namespace) -> None:
    made = decide(namespace, f"{namespace}-1")
    mine = await client.get(f"/v1/decisions/{made.subject_id}")
    receipt = await client.get(f"/v1/decisions/{made.subject_id}/receipt")
    assert mine.status_code == receipt.status_code == 200
    assert mine.json()["decision"]["decision_id"] == made.decision_id
    assert receipt.json()["openings"][0]["event_id"] == made.event_id
    other = {"Authorization": f"Bearer {served.token('somebody-else')}"}
    for path in (f"/v1/decisions/{made.subject_id}", f"/v1/decisions/{made.subject_id}/receipt"):
        theirs = await client.get(path, headers=other)
        unknown = await client.get(path.replace(made.subject_id, "unknown"), headers=other)
        assert theirs.status_code == unknown.status_code == 404
        assert theirs.json() == unknown.json()


async def test_two_users_of_one_ride_id_each_see_their_own(served, decide, client, namespace) -> None:
    somebody = f"{namespace}-somebody"
    made = [decide(user, f"{namespace}-same") for user in (somebody, namespace)]
    assert made[0].subject_id == made[1].subject_id
    for user in (somebody, namespace):
        headers = {"Authorization": f"Bearer {served.token(user)}"}
        found = await client.get(f"/v1/decisions/{made[0].subject_id}", headers=headers)
        receipt = await client.get(f"/v1/decisions/{made[0].subject_id}/receipt", headers=headers)
        assert found.json()["decision"]["user_id"] == receipt.json()["user_id"] == user


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


async def test_the_contracts_are_whole(client) -> None:
    openapi = (await client.get("/openapi.json")).json()
    asyncapi = (await client.get("/asyncapi.json")).json()
    for document in (openapi, asyncapi):
        text = json.dumps(document)
        for reference in {part.split('"')[0] for part in text.split('"$ref": "#/')[1:]}:
            node = document
            for name in reference.split("/"):
                node = node[name.replace("~1", "/")]
    assert openapi["components"]["schemas"]["RideRequestedBody"]["required"] == ["pickup", "dropoff"]
    assert asyncapi["channels"].keys() == {"live", *(topic.name for topic in TOPICS if topic.messages is not None)}
    taken = openapi["paths"]["/v1/rides"]["post"]["responses"]
    assert taken.keys() == {"202", "401", "403", "405", "408", "413", "415", "422", "503"}


async def test_health_status_and_metrics(serve, eventually, decide, namespace) -> None:
    decide(namespace, f"{namespace}-1")
    async with serve() as served, httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.get("/health/live")).status_code == 200
        await eventually(lambda: not served.gateway.status.down)
        assert (await client.get("/health/ready")).status_code == 200
        headers = {"Authorization": f"Bearer {served.token('op', operator=True)}"}
        status = (await client.get("/v1/status", headers=headers)).json()
        assert status["decisions"] == {"quote": 1}
        assert status["rates"].keys() == {"events", "predictions", "decisions"}
        assert 'route="/v1/status"' in (await client.get("/metrics")).text
        assert (await client.get("/v1/demo/token")).status_code == 404
    async with serve(kafka="127.0.0.1:1") as served, httpx.AsyncClient(base_url=served.url) as client:
        response = await client.get("/health/ready")
        assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")


async def test_the_demo_hands_out_tokens(serve) -> None:
    async with serve(demo=True) as served, httpx.AsyncClient(base_url=served.url) as client:
        given_out = (await client.get("/v1/demo/token?user=visitor")).json()
        headers = {"Authorization": f"Bearer {given_out['token']}"}
        assert given_out["user_id"] == "visitor"
        assert (await client.post("/v1/rides", json=RIDE, headers=headers)).status_code == 202
        assert (await client.get("/v1/demo/token?user=a%20b")).status_code == 422
