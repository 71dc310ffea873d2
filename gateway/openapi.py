"""The OpenAPI document: every call with every status it answers, its schemas generated from the messages themselves."""

from collections.abc import Iterable
from functools import cache
from typing import cast

import msgspec

from app.asking.requests import MAX_ROWS
from app.tokens import DECISIONS_READ, EVENTS_WRITE, LIVE_READ, STATUS_READ
from gateway import bodies
from gateway import openapi_batch as batch
from gateway import openapi_cards as cards
from gateway import openapi_inference as inference
from gateway.cloudevents import BATCH, STRUCTURED, CloudEvent
from gateway.openapi_calls import (
    ID,
    INTAKE,
    Json,
    agent_in_path,
    deadline_header,
    in_path,
    in_query,
    json_of,
    operation,
    ref,
    takes,
)
from gateway.predict import Decisions, Predictions
from gateway.problems import ProblemDetails
from gateway.reads import Decided
from gateway.routes import RIDE_STEPS, RideAccepted, TransactionAccepted, UploadAccepted
from gateway.status import SystemStatus
from gateway.system import DemoToken, Health

STRUCTS: tuple[type, ...] = (
    *(body.struct for body in bodies.BODIES.values()),
    *(Predictions, Decisions),
    *inference.STRUCTS,
    *cards.STRUCTS,
    *(CloudEvent, RideAccepted, UploadAccepted, Decided, SystemStatus, ProblemDetails, DemoToken, Health),
)

EXAMPLE: Json = {"instances": [{"pickup": {"zone": 74}, "dropoff": {"lat": 40.7769, "lon": -73.874}}]}

INTRODUCTION = """What happened goes in, what is predicted and decided comes out.

Calls with a lock take `Authorization: Bearer <token>`. In the demo `GET /v1/demo/token` gives one to anybody: put it under
*Authorize*; else `millrace token USER` prints one. Every error is `application/problem+json` (RFC 9457) that names the field.
The websocket and the topics are described in [/asyncapi.json](/asyncapi.json)."""


@cache
def document() -> Json:
    """The document, OpenAPI 3.1."""
    components = schemas(STRUCTS)
    for body in bodies.BODIES.values():  # the call says already what the body is; CloudEvents say it in `type`
        required = components[body.struct.__name__]["required"]
        components[body.struct.__name__]["required"] = [name for name in required if name != "type"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Millrace", "version": "1", "description": INTRODUCTION},
        "paths": {
            **_grouped("What happened", _intake() | cards.paths()),
            **_grouped("Ask a model, and wait", _asking()),
            **_grouped("What was decided", _reading()),
            **_grouped("Batch", batch.paths()),
            **_grouped("Open Inference Protocol", inference.paths()),
            **_grouped("The system", _system()),
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _grouped(under: str, paths: Json) -> Json:
    """These calls under one heading of the page."""
    return {
        path: {method: {**call, "tags": [under]} for method, call in calls.items()} for path, calls in paths.items()
    }


def schemas(structs: Iterable[type]) -> dict[str, Json]:
    """The JSON schemas of messages by name, and of everything they contain."""
    _, components = msgspec.json.schema_components(
        structs,
        schema_hook=lambda _: {"description": "any JSON"},  # `object` and raw JSON
        ref_template="#/components/schemas/{name}",
    )
    portable = msgspec.json.encode(components).replace(rb"\\Z", b"$")  # what Python calls the end, ECMA 262 calls a Z
    return cast("dict[str, Json]", msgspec.json.decode(portable))


def _intake() -> Json:
    paths = {"/v1/rides": {"post": takes("Request a ride", json_of(bodies.REQUESTED.struct), RideAccepted)}}
    for step, body in RIDE_STEPS.items():
        call = takes(body.event.__doc__ or step, json_of(body.struct), RideAccepted, in_path("ride_id"))
        paths[f"/v1/rides/{{ride_id}}/{step}"] = {"post": call}
    upload = takes("Upload content, or change it (`update`)", json_of(bodies.UPLOADED.struct), UploadAccepted)
    one_of = {"oneOf": [ref(body.struct) for body in bodies.BODIES.values()]}
    receipt = {"oneOf": [ref(RideAccepted), ref(UploadAccepted), ref(TransactionAccepted)]}
    content = {
        "application/json": {"schema": one_of},
        STRUCTURED: {"schema": ref(CloudEvent)},
        BATCH: {"schema": {"type": "array", "items": ref(CloudEvent)}},
    }
    events = takes("Any event as CloudEvents 1.0: binary, structured or batched", content, RideAccepted)
    schema = {"oneOf": [*receipt["oneOf"], {"type": "array", "items": receipt}]}
    events["responses"]["202"]["content"]["application/json"]["schema"] = schema
    return {**paths, "/v1/uploads": {"post": upload}, "/v1/events": {"post": events}}


def _asking() -> Json:
    publish = {**in_query("publish"), "schema": {"type": "string", "enum": ["true", "false"]}}
    publish["description"] = "put the predictions on the topic and into the store, too, marked as asked for"
    wait = {**in_query("wait"), "schema": {"type": "string", "enum": ["prediction", "decision"]}}
    wait["description"] = "`decision`: post the instances as events, and wait for what is decided on them"
    refusals = (404, *INTAKE, 504)
    summary = "Ask an agent and wait"
    call = operation(
        summary, Predictions, refusals, EVENTS_WRITE, agent_in_path("agent"), deadline_header(), publish, wait
    )
    either = {"oneOf": [ref(Predictions), ref(Decisions)]}
    call["responses"]["200"]["content"]["application/json"]["schema"] = either
    later = {"description": "accepted, and not all of it decided by the deadline"}
    call["responses"]["202"] = {**later, "content": {"application/json": {"schema": ref(Decisions)}}}
    instance = {"anyOf": [ref(body.struct) for body in bodies.BODIES.values()]}
    asked: Json = {"type": "object", "required": ["instances"], "additionalProperties": False}
    instances = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": instance}
    asked["properties"] = {"instances": instances, "publish": {"type": "boolean", "default": False}}
    call["requestBody"] = {"required": True, "content": {"application/json": {"schema": asked, "example": EXAMPLE}}}
    return {"/v1/predict/{agent}": {"post": call}}


def _reading() -> Json:
    subject = in_path("subject_id")
    refusals = (401, 403, 404, 422, 503)
    decided = operation(
        "The latest decision on your ride, upload or transaction", Decided, refusals, DECISIONS_READ, subject
    )
    receipt = operation("Where it lies in the log and when each hop happened", None, refusals, DECISIONS_READ, subject)
    query = [in_query("token"), in_query("last_id"), in_query("all"), {**in_query("Last-Event-ID"), "in": "header"}]
    live = operation(
        "Live updates as server-sent events; the websocket of the same path is described in /asyncapi.json",
        None, (401, 403, 429, 503), LIVE_READ, *query,
    )  # fmt: skip
    live["responses"]["200"]["content"] = {"text/event-stream": {}}
    return {
        "/v1/decisions/{subject_id}": {"get": decided},
        "/v1/decisions/{subject_id}/receipt": {"get": receipt},
        "/v1/live": {"get": live},
        "/v1/status": {"get": operation("The system at a glance", SystemStatus, (401, 403), STATUS_READ)},
    }


def _system() -> Json:
    page = operation("The dashboard", None, (), None)
    page["responses"]["200"]["content"] = {"text/html": {"schema": {"type": "string"}}}
    metrics = operation("Prometheus metrics", None, (), None)
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    token = operation("A token, in the demo only", DemoToken, (404, 422), None, {**in_query("user"), "schema": ID})
    return {
        "/": {"get": page},
        "/docs": {"get": {**page, "summary": "This document, to read and to try out"}},
        "/metrics": {"get": metrics},
        "/health/live": {"get": operation("Whether the process works", Health, (503,), None)},
        "/health/ready": {"get": operation("Whether Kafka, Redis and the database answer", Health, (503,), None)},
        "/asyncapi.json": {"get": operation("The contract of the live channel and the topics", None, (), None)},
        "/v1/demo/token": {"get": token},
    }
