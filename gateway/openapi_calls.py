"""The words the OpenAPI document is made of: a call with every status it answers, its parameters, its schemas."""

from typing import Any

from app import agent
from app.tokens import EVENTS_WRITE
from gateway.problems import MEDIA_TYPE, ProblemDetails

Json = dict[str, Any]

ID: Json = {"type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:-]*$"}
"""As `app.events.Id`."""

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
    503: "a part of the system does not answer, or there is too much to do; send the same again after `Retry-After`",
    504: "no answer by the deadline",
}

INTAKE = (401, 403, 408, 413, 415, 422, 503)
"""What may keep an event from being taken in."""


def operation(
    summary: str,
    answer: type | None,
    refusals: tuple[int, ...],
    scope: str | None,
    *parameters: Json,
    status: str = "200",
) -> Json:
    schema = {"type": "object"} if answer is None else ref(answer)
    responses: Json = {status: {"description": "done", "content": {"application/json": {"schema": schema}}}}
    for code in (*refusals, 405):
        problem: Json = {"description": PROBLEMS[code], "content": {MEDIA_TYPE: {"schema": ref(ProblemDetails)}}}
        if code in (429, 503):
            problem["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
        responses[str(code)] = problem
    call: Json = {"summary": summary.strip().splitlines()[0], "responses": responses, "parameters": list(parameters)}
    if scope:
        call |= {"security": [{"token": [scope]}], "description": f"Scope: `{scope}`."}
    return call


def json_of(struct: type) -> Json:
    return {"application/json": {"schema": ref(struct)}}


def ref(struct: type) -> Json:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": ID}


def agent_in_path(name: str) -> Json:
    return {**in_path(name), "schema": {"type": "string", "enum": agent.names()}, "example": "eta"}


def deadline_header() -> Json:
    header = {**in_query("Deadline-Ms"), "in": "header", "schema": {"type": "integer", "minimum": 1, "maximum": 30_000}}
    return {**header, "description": "how long the answer is of use, milliseconds; 2,000 unless said"}


def in_query(name: str) -> Json:
    return {"name": name, "in": "query", "schema": {"type": "string"}}


def takes(summary: str, content: Json, answer: type, *parameters: Json) -> Json:
    key = {"name": "Idempotency-Key", "in": "header", "schema": ID}
    key["description"] = "the event id: sending again with the same one is the same event"
    call = operation(summary, answer, INTAKE, EVENTS_WRITE, key, *parameters, status="202")
    return {**call, "requestBody": {"required": True, "content": content}}
