"""The Open Inference Protocol's calls: what they answer, and how they refuse; the agents are `MemoryAsker`'s."""

import json
import struct

import httpx
import numpy as np

from app import agent
from app.asking.requests import MAX_REQUEST_BYTES, MAX_ROWS
from app.errors import DeadlineExceeded, NotAnswered, NotServed, Overloaded, TooLarge
from gateway.protocol import LENGTH_HEADER

ZONES = [
    {"name": "pickup_zone", "datatype": "INT64", "shape": [2], "data": [74, 236]},
    {"name": "dropoff_zone", "datatype": "INT64", "shape": [2], "data": [1, 161]},
]
INFER = "/v2/models/eta/infer"


def body(**more: object) -> dict[str, object]:
    return {"id": "q-1", "inputs": ZONES, **more}


async def test_the_servers_metadata_and_health(served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:  # without a token
        server = (await client.get("/v2")).json()
        assert server["name"] == "millrace"
        assert "binary_tensor_data" in server["extensions"]
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/models")).json() == {"models": agent.names()}


async def test_ready_follows_what_the_gateway_needs(serve, eventually) -> None:
    async with serve() as served, httpx.AsyncClient(base_url=served.url) as client:
        await eventually(lambda: not served.gateway.status.down)
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    async with serve(kafka="127.0.0.1:1") as served, httpx.AsyncClient(base_url=served.url) as client:
        response = await client.get("/v2/health/ready")
        assert response.status_code == 503
        assert "kafka" in response.json()["error"]


async def test_every_agent_is_a_model(client, asker) -> None:
    for name in agent.names():
        model = (await client.get(f"/v2/models/{name}")).json()
        prediction = {"name": "prediction", "datatype": "FP64", "shape": [-1]}
        assert {**prediction, "parameters": {"unit": agent.find(name).unit}} in model["outputs"]
        assert model["name"] == name
        for version in model["versions"]:  # none, of an agent without a model
            path = f"/v2/models/{name}/versions/{version}"
            assert (await client.get(path)).json() == model
            assert (await client.get(f"{path}/ready")).json() == {"name": name, "ready": True}
    assert (await client.get("/v2/models/eta")).json()["versions"] == ["1"]
    asker.absent.add("eta")
    away = await client.get("/v2/models/eta/ready")
    assert (away.status_code, away.headers["retry-after"]) == (503, "2")


async def test_the_repositorys_index_tells_the_state_of_each(client, asker) -> None:
    asker.absent.add("spam")
    index = {line["name"]: line for line in (await client.post("/v2/repository/index")).json()}
    assert list(index) == agent.names()
    assert (index["eta"]["state"], index["spam"]["state"]) == ("READY", "UNAVAILABLE")
    assert index["spam"]["reason"]


async def test_rows_are_asked_as_one_question_of_the_tokens_user(client, asker, namespace) -> None:
    asker.values, asker.version = (1.5, 2.5), "1"
    response = await client.post(INFER, json=body())
    said = response.json()
    assert response.headers["content-type"] == "application/json"
    assert (said["model_name"], said["model_version"], said["id"]) == ("eta", "1", "q-1")
    assert said["parameters"] == {"unscored": 0}
    outputs = {output["name"]: output for output in said["outputs"]}
    assert list(outputs) == ["prediction", "problem", "event_id", "detail"]
    assert outputs["prediction"] == {"name": "prediction", "datatype": "FP64", "shape": [2], "data": [1.5, 2.5]}
    ((name, events, within_s, publish),) = asker.asked
    assert (name, publish) == ("eta", False)
    assert 0 < within_s <= 2
    assert [event.pickup.zone for event in events] == [74, 236]
    assert {event.user_id for event in events} == {namespace}
    assert outputs["event_id"]["data"] == [event.event_id for event in events]


async def test_a_row_that_cannot_be_scored_costs_itself_alone(client, asker) -> None:
    asker.problems = {1: "the model answered NaN"}
    said = (await client.post(INFER, json=body())).json()
    outputs = {output["name"]: output["data"] for output in said["outputs"]}
    assert said["parameters"] == {"unscored": 1}
    assert outputs["prediction"] == [1.0, None]
    assert outputs["problem"] == ["", "the model answered NaN"]


async def test_parameters_and_requested_outputs_count(client, asker) -> None:
    parameters = {"deadline_ms": 10_000, "publish": True, "priority": 3, "sequence_id": 7}
    outputs = [{"name": "problem"}, {"name": "prediction", "parameters": {"binary_data": False}}]
    said = (
        await client.post(INFER, json=body(parameters=parameters, outputs=outputs), headers={"Deadline-Ms": "9"})
    ).json()
    assert [output["name"] for output in said["outputs"]] == ["problem", "prediction"]
    await client.post(INFER, json=body(), headers={"Deadline-Ms": "20000"})
    await client.post(INFER, json=body(parameters={"timeout": 30_000_000}))
    assert [publish for *_, publish in asker.asked] == [True, False, False]
    for (*_, within_s, _), said_s in zip(asker.asked, (10, 20, 30), strict=True):
        assert said_s - 5 < within_s <= said_s  # less what reading the body took


async def test_binary_in_and_out(client, asker) -> None:
    asker.problems = {0: "é"}
    blob = np.array([74, 236], "<i2").tobytes() + np.array([1, 161], "<u1").tobytes()
    inputs = [
        {"name": "pickup_zone", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}},
        {"name": "dropoff_zone", "datatype": "UINT8", "shape": [2, 1], "parameters": {"binary_data_size": 2}},
    ]
    outputs = [{"name": "prediction"}, {"name": "detail", "parameters": {"binary_data": False}}, {"name": "problem"}]
    head = json.dumps({"inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}}).encode()
    response = await client.post(INFER, content=head + blob, headers={LENGTH_HEADER: str(len(head))})
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[LENGTH_HEADER])
    said = {output["name"]: output for output in json.loads(response.content[:length])["outputs"]}
    binary = response.content[length:]
    assert said["prediction"]["parameters"] == {"binary_data_size": 16}
    assert said["problem"]["parameters"] == {"binary_data_size": 10}
    assert said["detail"]["data"] == ["null", "null"]
    np.testing.assert_array_equal(np.frombuffer(binary[:16], "<f8"), [np.nan, 1.0])
    assert binary[16:] == struct.pack("<I", 2) + "é".encode() + struct.pack("<I", 0)


MANY = [{**each, "shape": [MAX_ROWS + 1], "data": [1] * (MAX_ROWS + 1)} for each in ZONES]
BAD: dict[str, tuple[object, int, str]] = {
    "no JSON": (b"{", 400, ""),
    "empty": (b"", 400, ""),
    "an array": (b"[]", 400, ""),
    "NaN": (b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [NaN]}]}', 400, ""),
    "deep": (b'{"inputs":' + b"[" * 100_000, 400, "inputs[0]"),
    "no inputs": ({}, 400, "inputs"),
    "none": ({"inputs": []}, 400, "inputs"),
    "unknown input": ({"inputs": [*ZONES, {**ZONES[0], "name": "zone"}]}, 400, "zone"),
    "unprintable": ({"inputs": [{**ZONES[0], "name": "<script>"}]}, 400, "?"),
    "unknown datatype": ({"inputs": [{**ZONES[0], "datatype": "FP99"}, ZONES[1]]}, 400, "pickup_zone"),
    "another datatype": ({"inputs": [{**ZONES[0], "datatype": "FP64"}, ZONES[1]]}, 400, "pickup_zone"),
    "another shape": ({"inputs": [{**ZONES[0], "shape": [3]}, ZONES[1]]}, 400, "pickup_zone"),
    "shape is text": ({"inputs": [{**ZONES[0], "shape": "2"}, ZONES[1]]}, 400, "inputs[0].shape"),
    "missing": ({"inputs": [ZONES[0]]}, 400, "dropoff"),
    "unknown output": (body(outputs=[{"name": "fare"}]), 400, "fare"),
    "deadline of text": (body(parameters={"deadline_ms": "100"}), 400, "parameters.deadline_ms"),
    "no deadline": (body(parameters={"deadline_ms": 0}), 400, "parameters.deadline_ms"),
    "a long deadline": (body(parameters={"deadline_ms": 10**400}), 400, "parameters.deadline_ms"),
    "publish": (body(parameters={"publish": "yes"}), 400, "parameters.publish"),
    "too many rows": (body(inputs=MANY), 413, ""),
    "too large": (b" " * (MAX_REQUEST_BYTES + 1), 413, ""),
}


async def test_a_bad_request_is_refused_in_the_protocols_form(client, asker) -> None:
    for name, (content, status, field) in BAD.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        response = await client.post(INFER, content=raw, headers={"Content-Type": "application/json"})
        said = response.json()
        assert (name, response.status_code, said.get("field", "")) == (name, status, field)
        assert response.headers["content-type"] == "application/json"
        assert said["error"] == (f"{field}: {said['detail']}" if field else said["detail"])
        assert "<script>" not in response.text
    assert asker.asked == []


async def test_a_length_or_a_deadline_that_is_none(client, asker) -> None:
    lengths = ("-1", "x", "1e3", "99999", "9" * 30, "²")
    deadlines = ("0", "-1", "soon", "30001", "1" * 30, "²")
    for name, value in [*((LENGTH_HEADER, each) for each in lengths), *(("Deadline-Ms", each) for each in deadlines)]:
        raw = [(name.encode(), value.encode("latin-1"))]
        response = await client.post(INFER, content=json.dumps(body()), headers=raw)
        assert (value, response.status_code, response.json()["field"]) == (value, 400, name)
    assert asker.asked == []


async def test_why_there_is_no_answer_is_told_by_the_status(client, asker) -> None:
    statuses = {DeadlineExceeded: 504, NotServed: 503, Overloaded: 503, TooLarge: 413, NotAnswered: 422}
    for error, status in statuses.items():
        asker.error = error("eta", "it is so")
        response = await client.post(INFER, json=body())
        assert response.status_code == status
        assert "it is so" in response.json()["error"]
        assert ("retry-after" in response.headers) == (status == 503)


async def test_unknown_models_versions_and_paths(client, asker) -> None:
    for path in (
        "/v2/models/eat",
        "/v2/models/_trip",
        "/v2/models/eta/versions/99",
        "/v2/models/eta/versions/99/ready",
    ):
        response = await client.get(path)
        assert (response.status_code, "error" in response.json()) == (404, True), path
    for path in ("/v2/models/eat/infer", "/v2/models/eta/versions/99/infer"):
        assert (await client.post(path, json=body())).status_code == 404
    wrong = await client.get(INFER)
    assert (wrong.status_code, wrong.json()["error"]) == (405, "this path takes POST")
    assert "/docs" in (await client.get("/v2/nothing")).json()["error"]
    asker.version = "7"  # a worker still has, or has already, another version than the registry names
    response = await client.post("/v2/models/eta/versions/1/infer", json=body())
    assert (response.status_code, response.json()["field"]) == (404, "version")


async def test_inference_takes_a_token_and_json_or_bytes(served, client) -> None:
    async with httpx.AsyncClient(base_url=served.url) as nobody:
        refused = await nobody.post(INFER, json=body())
        assert (refused.status_code, "error" in refused.json()) == (401, True)
        assert refused.headers["www-authenticate"].startswith("Bearer")
    raw = json.dumps(body()).encode()
    for kind, status in (("application/json", 200), ("application/octet-stream", 200), ("", 200), ("text/plain", 415)):
        response = await client.post(INFER, content=raw, headers={"Content-Type": kind})
        assert response.status_code == status
    packed = await client.post(INFER, content=raw, headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415
