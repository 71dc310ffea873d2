"""Asking an agent over HTTP, and waiting for a decision."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from app import agent
from app.asking.requests import MAX_ROWS, MAX_WITHIN_S
from app.errors import DeadlineExceeded, NotAnswered, NotServed, Overloaded, TooLarge
from app.events import ContentUpdated, ContentUploaded, RidePositioned, RideRequested
from app.testing import MemoryAsker, MemoryBus
from app.tokens import DECISIONS_READ, mint
from decision.policy import EXPECTED
from gateway.estimates import PATIENCE, RETRY
from gateway.verdicts import answering

RIDE = {"pickup": {"zone": 74}, "dropoff": {"zone": 132}}
POSITION = {"type": "millrace.ride.positioned.v1", "lat": 40.7, "lon": -73.9}


def body(*instances: object, **more: object) -> dict[str, object]:
    return {"instances": list(instances), **more}


async def test_rows_are_answered_in_order_and_fail_alone(
    client: httpx.AsyncClient, asker: MemoryAsker, namespace: str
) -> None:
    asker.values, asker.problems = (7.5, 8.5, 9.5), {1: "outside the city"}
    response = await client.post("/v1/predict/eta", json=body(RIDE, RIDE, RIDE), headers={"Deadline-Ms": "700"})
    said = response.json()
    assert (response.status_code, said["model"], said["version"]) == (200, "eta", "1")
    assert said["predictions"] == [
        {"value": 7.5, "unit": "min"},
        {"value": None, "unit": "min", "problem": "outside the city"},
        {"value": 9.5, "unit": "min"},
    ]
    ((name, events, within_s, publish),) = asker.asked
    assert (name, publish) == ("eta", False)
    assert 0 < within_s < 0.701
    assert [event.event_id for event in events] == said["event_ids"]
    assert {event.user_id for event in events} == {namespace}
    assert len({event.event_id for event in events}) == 3
    assert all(event_id.startswith("ask:") for event_id in said["event_ids"])


async def test_an_agent_of_several_events_is_told_which(client: httpx.AsyncClient, asker: MemoryAsker) -> None:
    for instances in ([RIDE], [{"type": "millrace.ride.requested.v1", **RIDE}, POSITION]):
        assert (await client.post("/v1/predict/duration", json=body(*instances))).status_code == 200
    uploads = [{"title": "a"}, {"title": "b", "upload_id": "v", "update": True}]
    assert (await client.post("/v1/predict/spam", json=body(*uploads))).status_code == 200
    kinds = [[type(event) for event in events] for _, events, *_ in asker.asked]
    assert kinds == [[RideRequested], [RideRequested, RidePositioned], [ContentUploaded, ContentUpdated]]


@pytest.mark.parametrize(
    ("path", "sent", "field"),
    [
        ("eta", body(), "instances"),
        ("eta", body(*[RIDE] * (MAX_ROWS + 1)), "instances"),
        ("eta", body(RIDE, {**RIDE, "dropoff": {"zone": 1000}}), "instances[1].dropoff.zone"),
        ("eta", body(RIDE, {**RIDE, "dropof": 1}), "instances[1].dropof"),
        ("eta", body(POSITION), "instances[0].type"),
        ("duration", body(POSITION, RIDE), "instances[1].type"),
        ("eta", body({**RIDE, "user_id": "somebody-else"}), "instances[0].user_id"),
        ("eta", body({**RIDE, "at": "1800-01-01T00:00:00Z"}), "instances[0].at"),
        ("eta", body(RIDE, more=1), "more"),
        ("eta?publish=yes", body(RIDE), "publish"),
        ("eta?wait=long", body(RIDE), "wait"),
        ("eta?published=true", body(RIDE), "published"),
        ("eta?publish=true", body({**RIDE, "event_id": "mine"}), "instances[0].event_id"),
        ("duration?wait=decision", body({"type": "millrace.ride.requested.v1", **RIDE}, POSITION), "instances[1].type"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, asker: MemoryAsker, path: str, sent: object, field: str
) -> None:
    response = await client.post(f"/v1/predict/{path}", json=sent)
    assert (response.status_code, response.json()["field"]) == (422, field), response.text
    assert asker.asked == []


async def test_the_longest_deadline_is_not_longer_by_rounding(client: httpx.AsyncClient, asker: MemoryAsker) -> None:
    for _ in range(20):
        response = await client.post("/v1/predict/eta", json=body(RIDE), headers={"Deadline-Ms": "30000"})
        assert response.status_code == 200
    assert all(within_s <= MAX_WITHIN_S for _, _, within_s, _ in asker.asked)


@pytest.mark.parametrize("said", ["0", "-1", "30001", "1.5", "x", "", "٣"])
async def test_a_deadline_is_a_number_within_bounds(client: httpx.AsyncClient, said: str) -> None:
    response = await client.post("/v1/predict/eta", json=body(RIDE), headers=[(b"deadline-ms", said.encode())])
    assert (response.status_code, response.json()["field"]) == (422, "Deadline-Ms")


@pytest.mark.parametrize(
    ("error", "status"),
    [(DeadlineExceeded, 504), (NotServed, 503), (Overloaded, 503), (TooLarge, 413), (NotAnswered, 422)],
)
async def test_how_a_question_ended_is_a_status(
    client: httpx.AsyncClient, asker: MemoryAsker, error: type, status: int
) -> None:
    asker.error = error("eta", "so it is")
    response = await client.post("/v1/predict/eta", json=body(RIDE))
    assert (response.status_code, response.json()["detail"]) == (status, "eta: so it is")
    assert ("retry-after" in response.headers) == (status == 503)


async def test_whom_nobody_knows_and_who_may_not_ask(client: httpx.AsyncClient, served) -> None:
    response = await client.post("/v1/predict/nobody", json=body(RIDE))
    assert (response.status_code, response.json()["field"]) == (404, "agent")
    assert (await client.post("/v1/predict/eta", json=body(RIDE), headers={"Authorization": ""})).status_code == 401
    reader = {"Authorization": f"Bearer {mint(served.settings, 'u', (DECISIONS_READ,))}"}
    assert (await client.post("/v1/predict/eta", json=body(RIDE), headers=reader)).status_code == 403
    assert (
        await client.post("/v1/predict/eta", content=b"{}", headers={"Content-Type": "text/plain"})
    ).status_code == 415


async def test_what_is_published_bears_an_id_no_event_can_take(client: httpx.AsyncClient, asker: MemoryAsker) -> None:
    for path, sent in (("eta?publish=true", body(RIDE)), ("eta", body(RIDE, publish=True))):
        said = (await client.post(f"/v1/predict/{path}", json=sent)).json()
        assert asker.asked[-1][3] is True
        posted = await client.post("/v1/rides", json={**RIDE, "event_id": said["event_ids"][0]})
        assert (posted.status_code, posted.json()["field"]) == (422, "event_id")


async def test_a_ride_comes_with_a_first_estimate(
    client: httpx.AsyncClient, asker: MemoryAsker, bus: MemoryBus
) -> None:
    asker.values = (12.3456,)
    accepted = (await client.post("/v1/rides", json=RIDE)).json()
    assert accepted["initial_duration_min"] == 12.35
    (record,) = bus.records("rides")
    assert dict(record.headers)["asked"] == b"duration"
    assert dict(record.headers)["ce_id"] == accepted["event_id"].encode()
    assert asker.asked == []


@pytest.mark.parametrize("away", [True, False])
async def test_a_ride_is_accepted_without_an_estimate(
    client: httpx.AsyncClient, asker: MemoryAsker, away: bool
) -> None:
    asker.error = DeadlineExceeded("duration", "no answer")
    asker.absent = {"duration"} if away else set()
    response = await client.post("/v1/rides", json=RIDE)
    assert (response.status_code, response.json()["initial_duration_min"]) == (202, None)


async def test_an_agent_that_has_fallen_behind_is_not_waited_for_by_every_ride(
    client: httpx.AsyncClient, asker: MemoryAsker
) -> None:
    asker.error = DeadlineExceeded("duration", "no answer")
    for _ in range(40):
        assert (await client.post("/v1/rides", json=RIDE)).status_code == 202
    assert PATIENCE <= len(asker.expected) <= PATIENCE + 3
    asker.error = None
    said = [(await client.post("/v1/rides", json=RIDE)).json()["initial_duration_min"] for _ in range(RETRY + 3)]
    assert said[-3:] == [1.0] * 3


async def test_a_ride_the_agent_cannot_score_does_not_mean_it_has_fallen_behind(
    client: httpx.AsyncClient, asker: MemoryAsker
) -> None:
    asker.problems = {0: "the zone is not one of New York's"}
    for _ in range(PATIENCE + 3):
        response = await client.post("/v1/rides", json=RIDE)
        assert (response.status_code, response.json()["initial_duration_min"]) == (202, None)
    assert len(asker.expected) == PATIENCE + 3


async def test_no_estimate_is_asked_for_where_none_is_wanted(serve, asker: MemoryAsker) -> None:
    async with serve(first_estimate=timedelta(0)) as served:
        headers = {"Authorization": f"Bearer {served.token('u')}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            assert (await client.post("/v1/rides", json=RIDE)).json()["initial_duration_min"] is None
    assert asker.expected == []


async def test_a_decision_is_waited_for(
    client: httpx.AsyncClient, bus: MemoryBus, tell, namespace: str, eventually
) -> None:
    """Told by the live channel."""
    event_id = f"{namespace}-e"
    sent = body({**RIDE, "event_id": event_id, "ride_id": f"ride-{event_id}"})
    asked = asyncio.create_task(
        client.post("/v1/predict/eta?wait=decision", json=sent, headers={"Deadline-Ms": "9000"})
    )
    await eventually(lambda: bus.records("rides"))
    await tell(namespace, event_id)
    response = await asked
    (verdict,) = response.json()["decisions"]
    assert (response.status_code, verdict["event_id"], verdict["missing"]) == (200, event_id, [])
    assert verdict["decision"]["action"] == "quote"
    assert response.json()["event_ids"] == [event_id]


async def test_a_decision_is_found_in_the_store_when_the_channel_said_nothing(
    client: httpx.AsyncClient, decide, namespace: str
) -> None:
    event_id = f"{namespace}-e"
    decide(namespace, event_id)
    sent = body({**RIDE, "event_id": event_id, "ride_id": f"ride-{event_id}"})
    response = await client.post("/v1/predict/eta?wait=decision", json=sent, headers={"Deadline-Ms": "9000"})
    assert (response.status_code, response.json()["decisions"][0]["decision"]["event_id"]) == (200, event_id)


async def test_what_is_not_decided_in_time_is_accepted_and_says_who_is_missing(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/predict/eta?wait=decision", json=body(RIDE), headers={"Deadline-Ms": "400"})
    (verdict,) = response.json()["decisions"]
    assert (response.status_code, verdict["decision"], verdict["predictions"]) == (202, None, [])
    assert set(verdict["missing"]) == set(EXPECTED["ride"])


def test_whoever_is_waited_for_by_the_decision_answers() -> None:
    assert set(answering(RideRequested)) == set(EXPECTED["ride"])
    assert set(answering(ContentUploaded)) == set(answering(ContentUpdated)) == set(EXPECTED["upload"])
    assert set(answering(RideRequested)) < set(agent.names())
