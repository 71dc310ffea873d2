"""The Open Inference Protocol v2: every agent as a model that Triton's, KServe's and anybody's clients can ask.

Metadata and health are open, as probes and tools expect; inference takes a token, as `/v1/predict` does. A request is
tensors (`gateway.tensors`), its rows are events (`gateway.signature`), and they are asked as one question (`app.asking.asker`).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from importlib.metadata import version as installed

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.asking.asker import Asks
from app.asking.requests import MAX_REQUEST_BYTES, MAX_ROWS, MAX_WITHIN_S
from app.errors import InvalidMessage, NotServed, TooLarge
from app.tokens import EVENTS_WRITE
from gateway import bodies
from gateway.auth import Door
from gateway.models import Model, Models
from gateway.predict import deadline_s
from gateway.problems import Refused
from gateway.protocol import (
    LENGTH_HEADER,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelNames,
    ModelReady,
    ModelState,
    Parameters,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from gateway.requests import media_type, need_plain, read_body
from gateway.routes import answer
from gateway.signature import Signature
from gateway.tensors import Column, decode, encode

ROOT = "/v2"
MODEL = f"{ROOT}/models/{{model}}"
VERSION = f"{MODEL}/versions/{{version}}"
MEDIA_TYPES = ("application/json", "application/octet-stream", "")  # tritonclient names none
LEAST_S = 0.001  # of time for an answer, however long the body took
_SHOWN = re.compile(r"[A-Za-z0-9_.:\[\]-]{0,80}\Z")
_requests = msgspec.json.Decoder(InferRequest)
Probe = Callable[[Request], Awaitable[Response]]


class InferenceRoutes:
    """The calls of the protocol.

    Args:
        asks: who is asked.
        alive, ready: the gateway's own probes; each raises `Refused` where the answer is no.
    """

    def __init__(self, door: Door, models: Models, asks: Asks, alive: Probe, ready: Probe) -> None:
        self._door, self._models, self._asks, self._alive, self._ready = door, models, asks, alive, ready

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_route(ROOT, self.server)
        router.add_route(f"{ROOT}/health/live", self.live)
        router.add_route(f"{ROOT}/health/ready", self.ready)
        router.add_route(f"{ROOT}/models", self.names)
        router.add_route(f"{ROOT}/repository/index", self.index, methods=["POST"])
        for path in (MODEL, VERSION):
            router.add_route(path, self.model)
            router.add_route(f"{path}/ready", self.model_ready)
            router.add_route(f"{path}/infer", self.infer, methods=["POST"])
        return router

    async def server(self, _: Request) -> Response:
        return answer(ServerMetadata(version=installed("millrace")))

    async def live(self, request: Request) -> Response:
        await self._alive(request)
        return answer(ServerLive())

    async def ready(self, request: Request) -> Response:
        """Whether questions can be asked at all; of a single agent, `model_ready` knows."""
        await self._ready(request)
        return answer(ServerReady())

    async def names(self, _: Request) -> Response:
        return answer(ModelNames(models=self._models.names))

    async def index(self, _: Request) -> Response:
        """Every model with its state. A body that asks for the ready ones only is passed over: the state tells them."""
        models = [await self._models.find(name) for name in self._models.names]
        return answer([self._state(model) for model in models])

    async def model(self, request: Request) -> Response:
        return answer(_metadata(await self._find(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether a worker serves it. Raises `NotServed`, which is a 503."""
        model = await self._find(request)
        if not self._asks.serves(model.name):
            raise NotServed(model.name, "no worker serves this agent")
        return answer(ModelReady(name=model.name))

    async def infer(self, request: Request) -> Response:
        identity = self._door.admit(request.headers, EVENTS_WRITE)
        began = asyncio.get_running_loop().time()
        name = request.path_params["model"]
        if "version" in request.path_params:
            await self._find(request)
        signature = await self._models.signature(name)
        with _bad_request():
            asked, columns = await _read(request, name)
            wanted = _wanted(asked, signature)
            publish = _flag(asked.parameters, "publish")
            within_s = _within_s(request, asked.parameters)
            events = signature.events(columns, identity.user_id)
        taken_s = asyncio.get_running_loop().time() - began  # by reading the body, most of it
        said = await self._asks.ask(name, events, max(LEAST_S, within_s - taken_s), publish=publish)
        if said.version != request.path_params.get("version", said.version):
            raise Refused(HTTPStatus.NOT_FOUND, f"the version of {name} that answers is {said.version}", "version")
        every = signature.answers(said, events)
        outputs, binary = encode([every[output] for output in wanted], list(wanted.values()))
        response = InferResponse(
            model_name=name,
            model_version=said.version,
            id=asked.id,
            parameters={"unscored": len(said.problems)},
            outputs=outputs,
        )
        return _response(response, binary)

    async def _find(self, request: Request) -> Model:
        return await self._models.find(request.path_params["model"], request.path_params.get("version"))

    def _state(self, model: Model) -> ModelState:
        if model.version is None:
            return ModelState(name=model.name, version="", state="UNAVAILABLE", reason="it was never trained")
        if not self._asks.serves(model.name):
            return ModelState(name=model.name, version=model.version, state="UNAVAILABLE", reason="no worker serves it")
        return ModelState(name=model.name, version=model.version, state="READY")


async def _read(request: Request, model: str) -> tuple[InferRequest, list[Column]]:
    """The request and its columns. Raises `InvalidMessage`, `Refused` for what is wrong with the HTTP, `TooLarge`."""
    if media_type(request) not in MEDIA_TYPES:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json or application/octet-stream", "Content-Type"
        )
    need_plain(request)
    raw = await read_body(request, MAX_REQUEST_BYTES)
    length = request.headers.get(LENGTH_HEADER, str(len(raw)))
    if not (length.isdecimal() and length.isascii() and len(length) < 10 and int(length) <= len(raw)):
        raise InvalidMessage("not a number of bytes of this body", LENGTH_HEADER)
    asked: InferRequest = bodies.decode(_requests, raw[: int(length)])
    columns = decode(asked.inputs, raw[int(length) :])
    if columns and len(columns[0].values) > MAX_ROWS:
        raise TooLarge(model, f"one request may have {MAX_ROWS} rows")
    return asked, columns


def _wanted(asked: InferRequest, signature: Signature) -> dict[str, bool]:
    """The outputs to answer with, and whether each is to be binary."""
    known = signature.outputs
    binary = _flag(asked.parameters, "binary_data_output")
    if not asked.outputs:
        return dict.fromkeys(known, binary)
    wanted = {}
    for output in asked.outputs:
        if output.name not in known:
            raise InvalidMessage(f"unknown output; there are: {', '.join(known)}", output.name)
        wanted[output.name] = _flag(output.parameters, "binary_data", default=binary)
    return wanted


def _flag(parameters: Parameters | None, name: str, *, default: bool = False) -> bool:
    value = (parameters or {}).get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidMessage("true or false is expected", f"parameters.{name}")
    return value


def _within_s(request: Request, parameters: Parameters | None) -> float:
    """How long the asker waits: the parameter `deadline_ms`, Triton's `timeout` (microseconds), or as in `/v1/predict`."""
    for name, per_second in (("deadline_ms", 1e3), ("timeout", 1e6)):
        value = (parameters or {}).get(name)
        if value is None:
            continue
        if isinstance(value, bool | str) or not 0 < value <= MAX_WITHIN_S * per_second:
            raise InvalidMessage(f"a time above 0 and up to {MAX_WITHIN_S:g} s is expected", f"parameters.{name}")
        return value / per_second
    return deadline_s(request)


def _metadata(model: Model) -> ModelMetadata:
    inputs, outputs = model.signature.inputs.values(), model.signature.outputs.values()
    return ModelMetadata(
        name=model.name,
        versions=(model.version,) if model.version else (),
        inputs=tuple(TensorMetadata(name=x.name, datatype=x.datatype, parameters=x.parameters) for x in inputs),
        outputs=tuple(TensorMetadata(name=x.name, datatype=x.datatype, parameters=x.parameters) for x in outputs),
    )


def _response(said: InferResponse, binary: bytes) -> Response:
    head = msgspec.json.encode(said)
    headers = {"Cache-Control": "no-store"}
    if all(output.data is not None for output in said.outputs):
        return Response(head, headers=headers, media_type="application/json")
    headers[LENGTH_HEADER] = str(len(head))
    return Response(head + binary, headers=headers, media_type="application/octet-stream")


@contextmanager
def _bad_request() -> Iterator[None]:
    """To the protocol, whatever is wrong with a request is a 400."""
    try:
        yield
    except InvalidMessage as error:
        field = error.field if _SHOWN.match(error.field) else "?"  # tensors bear the names the client gives them
        raise Refused(HTTPStatus.BAD_REQUEST, error.problem, field) from error
