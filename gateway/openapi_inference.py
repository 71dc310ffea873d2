"""The Open Inference Protocol in the OpenAPI document; its errors have a form of their own. Part of `gateway.openapi`."""

from app.tokens import EVENTS_WRITE
from gateway.inference import MODEL, ROOT, VERSION
from gateway.openapi_calls import Json, agent_in_path, deadline_header, in_path, in_query, operation, ref
from gateway.problems import MEDIA_TYPE, InferenceError
from gateway.protocol import (
    LENGTH_HEADER,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelNames,
    ModelReady,
    ModelState,
    ServerLive,
    ServerMetadata,
    ServerReady,
)

STRUCTS = (
    *(InferRequest, InferResponse, ModelMetadata, ModelNames, ModelReady, ModelState),
    *(ServerLive, ServerMetadata, ServerReady, InferenceError),
)

EXAMPLE: Json = {
    "id": "two-rides",
    "inputs": [
        {"name": "pickup_zone", "datatype": "INT64", "shape": [2], "data": [74, 236]},
        {"name": "dropoff_zone", "datatype": "INT64", "shape": [2], "data": [1, 161]},
    ],
    "outputs": [{"name": "prediction"}],
}


def paths() -> Json:
    """Every call, by path."""
    described = _paths()
    for operations in described.values():
        for each in operations.values():
            for said in each["responses"].values():
                if MEDIA_TYPE in said["content"]:
                    said["content"] = {"application/json": {"schema": ref(InferenceError)}}
    return described


def _paths() -> Json:
    index = operation("Every model and its state", None, (), None)
    index["responses"]["200"]["content"]["application/json"]["schema"] = {"type": "array", "items": ref(ModelState)}
    paths = {
        ROOT: {
            "get": operation("What answers here, and which extensions of the protocol it has", ServerMetadata, (), None)
        },
        f"{ROOT}/health/live": {"get": operation("Whether the process works", ServerLive, (503,), None)},
        f"{ROOT}/health/ready": {"get": operation("Whether questions can be asked", ServerReady, (503,), None)},
        f"{ROOT}/models": {"get": operation("The models there are", ModelNames, (), None)},
        f"{ROOT}/repository/index": {"post": index},
    }
    for path in (MODEL, VERSION):
        named = [agent_in_path("model"), *([in_path("version")] if path == VERSION else [])]
        paths[path] = {"get": operation("A model's inputs and outputs", ModelMetadata, (404,), None, *named)}
        paths[f"{path}/ready"] = {"get": operation("Whether a worker serves it", ModelReady, (404, 503), None, *named)}
        paths[f"{path}/infer"] = {"post": _infer(*named)}
    return paths


def _infer(*named: Json) -> Json:
    length = {**in_query(LENGTH_HEADER), "in": "header", "schema": {"type": "integer", "minimum": 0}}
    length["description"] = "of a body with binary tensors: the bytes of JSON before them"
    refusals = (400, 401, 403, 404, 408, 413, 415, 422, 503, 504)
    call = operation(
        "Ask a model and wait: tensors in, tensors out",
        InferResponse,
        refusals,
        EVENTS_WRITE,
        deadline_header(),
        length,
        *named,
    )
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    asked = {"application/json": {"schema": ref(InferRequest), "example": EXAMPLE}}
    call["requestBody"] = {"required": True, "content": {**asked, **binary}}
    call["responses"]["200"]["content"] |= binary
    return call
