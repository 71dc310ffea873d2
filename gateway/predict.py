"""`POST /v1/predict/{agent}`: ask an agent and wait; with `?wait=decision`, post the events and wait for what is decided.

The contract is worded in `gateway.openapi`; the waiting is `app.asking.asker`'s and `gateway.verdicts`'.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from app import agent
from app.asking.asker import Asks
from app.asking.requests import MAX_REQUEST_BYTES, MAX_WITHIN_S, Answer
from app.errors import ConfigurationError, InvalidMessage
from app.events import Event
from app.predictions import Detail
from app.tokens import EVENTS_WRITE, Identity
from gateway.auth import Door
from gateway.instances import Instances
from gateway.problems import Refused
from gateway.requests import need_json, query, read_body, traceparent
from gateway.routes import answer
from gateway.verdicts import Verdict, Verdicts

DEADLINE_MS = 2000
"""When the caller names none."""


class Predicted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer for one instance: a value, or why there is none."""

    value: float | None
    unit: str
    detail: Detail | None = None
    problem: str | None = None


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says of the instances, in their order; all of it by one version of its model."""

    predictions: tuple[Predicted, ...]
    model: str
    version: str
    event_ids: tuple[str, ...]


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided on the events, in their order, by the deadline."""

    decisions: tuple[Verdict, ...]
    event_ids: tuple[str, ...]


class PredictRoutes:
    """The synchronous call."""

    def __init__(self, door: Door, asks: Asks, verdicts: Verdicts) -> None:
        self._door, self._asks, self._verdicts = door, asks, verdicts
        self._instances: dict[str, Instances] = {}

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_route("/v1/predict/{agent}", self.predict, methods=["POST"])
        return router

    async def predict(self, request: Request) -> Response:
        identity = self._door.admit(request.headers, EVENTS_WRITE)
        name, within_s = request.path_params["agent"], deadline_s(request)
        until = asyncio.get_running_loop().time() + within_s
        wanted = query(request, "publish", "wait")
        known = self._instances.get(name) or await self._learn(name)
        need_json(request)
        instances, publish = known.read(
            await read_body(request, MAX_REQUEST_BYTES),
            publish=_flag(wanted, "publish", {"true": True, "false": False}),
        )
        if _flag(wanted, "wait", {"decision": True, "prediction": False}):
            return await self._decide(request, identity, known.posted(instances, identity.user_id), until)
        events = known.events(instances, identity.user_id, publish=publish)
        return answer(_worded(events, await self._asks.ask(name, events, _left(until), publish=publish)))

    async def _learn(self, name: str) -> Instances:
        """What an agent takes; imports it, which takes a moment the first time."""
        try:
            self._instances[name] = await asyncio.to_thread(lambda: Instances(agent.find(name)))
        except ConfigurationError as error:
            raise Refused(
                HTTPStatus.NOT_FOUND, f"no such agent; there are: {', '.join(agent.names())}", "agent"
            ) from error
        return self._instances[name]

    async def _decide(self, request: Request, identity: Identity, events: Sequence[Event], until: float) -> Response:
        """200 when all is decided; 202 when something is not yet: it is accepted, and its decision comes live."""
        verdicts = await self._verdicts.on(identity.user_id, events, traceparent(request), until)
        said = Decisions(decisions=tuple(verdicts), event_ids=tuple(event.event_id for event in events))
        decided = all(verdict.decision is not None for verdict in verdicts)
        return answer(said, HTTPStatus.OK if decided else HTTPStatus.ACCEPTED)


def deadline_s(request: Request) -> float:
    """What the header `Deadline-Ms` says, as seconds. Raises `InvalidMessage`."""
    said, most = request.headers.get("deadline-ms"), int(MAX_WITHIN_S * 1000)
    if said is None:
        return DEADLINE_MS / 1000
    if not (said.isascii() and said.isdecimal() and len(said) <= 6 and 1 <= int(said) <= most):
        raise InvalidMessage(f"a whole number of milliseconds, 1 to {most}", "Deadline-Ms")
    return int(said) / 1000


def _left(until: float) -> float:
    """What is left of the caller's time, reading the body took some of it; within what may be asked, for sums round."""
    return min(MAX_WITHIN_S, max(0.001, until - asyncio.get_running_loop().time()))


def _flag(wanted: QueryParams, name: str, meanings: dict[str, bool]) -> bool:
    said = wanted.get(name)
    if said is None:
        return False
    if said not in meanings:
        raise InvalidMessage(f"one of: {', '.join(meanings)}", name)
    return meanings[said]


def _worded(events: Sequence[Event], said: Answer) -> Predictions:
    rows = zip(said.values, said.details, strict=True)
    return Predictions(
        predictions=tuple(
            Predicted(value=value, unit=said.unit, detail=detail, problem=said.problems.get(row))
            for row, (value, detail) in enumerate(rows)
        ),
        model=said.agent,
        version=said.version,
        event_ids=tuple(event.event_id for event in events),
    )
