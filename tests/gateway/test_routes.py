"""The HTTP calls: what is taken and what is told; 202 means that Kafka has it."""

import asyncio
import json

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app import codec
from app.bus import KafkaProducer
from app.events import AnyRide, AnyUpload, ContentUpdated, ContentUploaded, RidePositioned, RideRequested
from app.topics import TOPICS

RIDE = {"pickup": {"zone": 7}, "dropoff": {"lat": 40.7, "lon": -73.9}, "passengers": 2}
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
