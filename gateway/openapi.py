"""The OpenAPI document: every call with every status it answers, its schemas generated from the messages themselves."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from app.requests import MAX_ROWS
from app.tokens import DECISIONS_READ, EVENTS_WRITE, LIVE_READ, STATUS_READ
from gateway import bodies
from gateway.cloudevents import BATCH, STRUCTURED, CloudEvent
from gateway.predict import Decisions, Predictions
from gateway.problems import MEDIA_TYPE, ProblemDetails
from gateway.reads import Decided
from gateway.routes import RIDE_STEPS, RideAccepted, UploadAccepted
from gateway.status import SystemStatus
from gateway.system import DemoToken, Health

Json = dict[str, Any]

STRUCTS: tuple[type, ...] = (
    *(body.struct for body in bodies.BODIES.values()),
    *(Predictions, Decisions),
    *(CloudEvent, RideAccepted, UploadAccepted, Decided, SystemStatus, ProblemDetails, DemoToken, Health),
)
PROBLEMS = {
    400: "the request could not be read",
    401: "no token, or one that is not valid",
    403: "the token does not allow this, or the page is of a foreign origin",
    404: "there is none, or it is not yours",
    405: "another method is meant",
    408: "the body did not come in time",
    413: "the body is too large",
    415: "another media type is meant",
    422: "the content is not valid; `field` names what",
    429: "too many live connections of this user",
    503: "a part of the system does not answer; send the same again after `Retry-After`",
    504: "no answer by the deadline",
}
_INTAKE = (401, 403, 408, 413, 415, 422, 503)
_PATH_ID = {"name": "{}", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 64}}


@cache
def document() -> Json:
    """The document, OpenAPI 3.1."""
    components = schemas(STRUCTS)
    for body in bodies.BODIES.values():  # the call says already what the body is; CloudEvents say it in `type`
        required = components[body.struct.__name__]["required"]
        components[body.struct.__name__]["required"] = [name for name in required if name != "type"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Millrace", "version": "1", "description": __doc__},
        "paths": {**_intake(), **_asking(), **_reading(), **_system()},
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def schemas(structs: Iterable[type]) -> dict[str, Json]:
    """The JSON schemas of messages by name, and of everything they contain."""
    _, components = msgspec.json.schema_components(
        structs,
        schema_hook=lambda _: {"description": "any JSON"},  # `object` and raw JSON
        ref_template="#/components/schemas/{name}",
    )
    return components


def _intake() -> Json:
    paths = {"/v1/rides": {"post": _takes("Request a ride", _json(bodies.REQUESTED.struct), RideAccepted)}}
    for step, body in RIDE_STEPS.items():
        call = _takes(body.event.__doc__ or step, _json(body.struct), RideAccepted, _path("ride_id"))
        paths[f"/v1/rides/{{ride_id}}/{step}"] = {"post": call}
    upload = _takes("Upload content, or change it (`update`)", _json(bodies.UPLOADED.struct), UploadAccepted)
    one_of = {"oneOf": [_ref(body.struct) for body in bodies.BODIES.values()]}
    receipt = {"oneOf": [_ref(RideAccepted), _ref(UploadAccepted)]}
    content = {
        "application/json": {"schema": one_of},
        STRUCTURED: {"schema": _ref(CloudEvent)},
        BATCH: {"schema": {"type": "array", "items": _ref(CloudEvent)}},
    }
    events = _takes("Any event as CloudEvents 1.0: binary, structured or batched", content, RideAccepted)
    schema = {"oneOf": [*receipt["oneOf"], {"type": "array", "items": receipt}]}
    events["responses"]["202"]["content"]["application/json"]["schema"] = schema
    return {**paths, "/v1/uploads": {"post": upload}, "/v1/events": {"post": events}}


def _asking() -> Json:
    deadline = {**_query("Deadline-Ms"), "in": "header", "schema": {"type": "integer", "minimum": 1, "maximum": 30_000}}
    deadline["description"] = "how long the answer is of use, milliseconds; 2,000 unless said"
    publish = {**_query("publish"), "schema": {"type": "string", "enum": ["true", "false"]}}
    publish["description"] = "put the predictions on the topic and into the store, too, marked as asked for"
    wait = {**_query("wait"), "schema": {"type": "string", "enum": ["prediction", "decision"]}}
    wait["description"] = "`decision`: post the instances as events, and wait for what is decided on them"
    refusals = (404, *_INTAKE, 504)
    summary = "Ask an agent and wait"
    call = _call(summary, Predictions, refusals, EVENTS_WRITE, _path("agent"), deadline, publish, wait)
    either = {"oneOf": [_ref(Predictions), _ref(Decisions)]}
    call["responses"]["200"]["content"]["application/json"]["schema"] = either
    later = {"description": "accepted, and not all of it decided by the deadline"}
    call["responses"]["202"] = {**later, "content": {"application/json": {"schema": _ref(Decisions)}}}
    instance = {"anyOf": [_ref(body.struct) for body in bodies.BODIES.values()]}
    asked: Json = {"type": "object", "required": ["instances"], "additionalProperties": False}
    instances = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": instance}
    asked["properties"] = {"instances": instances, "publish": {"type": "boolean", "default": False}}
    call["requestBody"] = {"required": True, "content": {"application/json": {"schema": asked}}}
    return {"/v1/predict/{agent}": {"post": call}}


def _reading() -> Json:
    subject = _path("subject_id")
    refusals = (401, 403, 404, 422, 503)
    decided = _call("The latest decision on your ride or upload", Decided, refusals, DECISIONS_READ, subject)
    receipt = _call("Where it lies in the log and when each hop happened", None, refusals, DECISIONS_READ, subject)
    query = [_query("token"), _query("last_id"), _query("all"), {**_query("Last-Event-ID"), "in": "header"}]
    live = _call(
        "Live updates as server-sent events; the websocket of the same path is described in /asyncapi.json",
        None, (401, 403, 429, 503), LIVE_READ, *query,
    )  # fmt: skip
    live["responses"]["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "/v1/decisions/{subject_id}": {"get": decided},
        "/v1/decisions/{subject_id}/receipt": {"get": receipt},
        "/v1/live": {"get": live},
        "/v1/status": {"get": _call("The system at a glance", SystemStatus, (401, 403), STATUS_READ)},
    }


def _system() -> Json:
    page = _call("The dashboard", None, (), None)
    page["responses"]["200"]["content"] = {"text/html": {"schema": {"type": "string"}}}
    metrics = _call("Prometheus metrics", None, (), None)
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    token = _call("A token, in the demo only", DemoToken, (404, 422), None, _query("user"))
    return {
        "/": {"get": page},
        "/docs": {"get": {**page, "summary": "This document, to read and to try out"}},
        "/metrics": {"get": metrics},
        "/health/live": {"get": _call("Whether the process works", Health, (503,), None)},
        "/health/ready": {"get": _call("Whether Kafka, Redis and the database answer", Health, (503,), None)},
        "/asyncapi.json": {"get": _call("The contract of the live channel and the topics", None, (), None)},
        "/v1/demo/token": {"get": token},
    }


def _takes(summary: str, content: Json, answer: type, *parameters: Json) -> Json:
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
    key["description"] = "the event id: sending again with the same one is the same event"
    call = _call(summary, answer, _INTAKE, EVENTS_WRITE, key, *parameters, status="202")
    return {**call, "requestBody": {"required": True, "content": content}}


def _call(
    summary: str,
    answer: type | None,
    refusals: tuple[int, ...],
    scope: str | None,
    *parameters: Json,
    status: str = "200",
) -> Json:
    schema = {"type": "object"} if answer is None else _ref(answer)
    responses: Json = {status: {"description": "done", "content": {"application/json": {"schema": schema}}}}
    for code in (*refusals, 405):
        problem: Json = {"description": PROBLEMS[code], "content": {MEDIA_TYPE: {"schema": _ref(ProblemDetails)}}}
        if code in (429, 503):
            problem["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
        responses[str(code)] = problem
    call: Json = {"summary": summary.strip().splitlines()[0], "responses": responses, "parameters": list(parameters)}
    if scope:
        call |= {"security": [{"token": [scope]}], "description": f"Scope: `{scope}`."}
    return call


def _json(struct: type) -> Json:
    return {"application/json": {"schema": _ref(struct)}}


def _ref(struct: type) -> Json:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _path(name: str) -> Json:
    return {**_PATH_ID, "name": name}


def _query(name: str) -> Json:
    return {"name": name, "in": "query", "schema": {"type": "string"}}
