"""Card transactions in: one as JSON, or as many as there are, streamed as NDJSON; and the frauds among them, as reported.

A stream is published as it is read, so each line stands for itself: a bad one is told of and the others go on.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec
from fastapi import APIRouter
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from app.errors import InvalidMessage, ServiceUnavailable, TooManyEvents
from app.events import Event
from app.tokens import EVENTS_WRITE, Identity
from gateway import bodies, problems
from gateway.auth import Door, holder
from gateway.bodies import Body
from gateway.ndjson import MAX_LINE, MEDIA_TYPES, Line, lines
from gateway.outbox import Outbox
from gateway.problems import ProblemDetails, Refused
from gateway.requests import idempotency_key, media_type, need_id, need_json, need_plain, read_body, traceparent
from gateway.routes import accepted, answer

AT_ONCE = 500
"""Transactions sent to Kafka together; they take some 15 ms to check, and others get their turn in between."""

ERRORS_TOLD = 100
"""Bad lines described in an answer; all are counted."""

ROOM_S = 10.0
"""How long a stream waits while others have all the room there is on the way to Kafka."""


class LineError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a line was rejected.

    Attributes:
        line: its number, from 1.
        field: the offending field, where it is one.
    """

    line: int
    detail: str
    field: str | None = None


class Taken(Struct, kw_only=True):
    """What became of the lines read so far: Kafka has those that were accepted.

    Attributes:
        errors: the first 100 that were rejected.
    """

    accepted: int = 0
    rejected: int = 0
    errors: list[LineError] = msgspec.field(default_factory=list)

    def reject(self, line: Line, detail: str, field: str = "") -> None:
        self.rejected += 1
        if len(self.errors) < ERRORS_TOLD:
            self.errors.append(LineError(line=line.number, detail=detail, field=field or None))


class StreamProblem(ProblemDetails, frozen=True, kw_only=True, omit_defaults=True):
    """A stream that was not read to its end, or of which no line was good.

    Attributes:
        accepted, rejected, errors: as in `Taken`.
        resume_at: the first line whose fate is not told here; send from there again, the same ids for the same lines.
    """

    accepted: int
    rejected: int
    errors: list[LineError]
    resume_at: int | None = None


class TransactionRoutes:
    """The bank's calls."""

    def __init__(self, door: Door, outbox: Outbox) -> None:
        self._door, self._outbox = door, outbox

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_route("/v1/transactions", self.take, methods=["POST"])
        router.add_route("/v1/transactions/{transaction_id}/fraud", self.report, methods=["POST"])
        return router

    async def take(self, request: Request) -> Response:
        identity = self._door.admit(request.headers, EVENTS_WRITE)
        if media_type(request) in MEDIA_TYPES:
            need_plain(request)
            return await self._stream(request, identity)
        return await self._one(request, identity, bodies.MADE, None)

    async def report(self, request: Request) -> Response:
        """A chargeback."""
        identity = self._door.admit(request.headers, EVENTS_WRITE)
        transaction_id = need_id(request.path_params["transaction_id"], "transaction_id")
        return await self._one(request, identity, bodies.REPORTED, transaction_id)

    async def _one(self, request: Request, identity: Identity, body: Body[Any], transaction_id: str | None) -> Response:
        need_json(request)
        raw = await read_body(request)
        event = _event(raw, identity, body, idempotency_key(request), transaction_id)
        places = await self._outbox.send([event], traceparent(request))
        return answer(accepted(event, places[0]), HTTPStatus.ACCEPTED)

    async def _stream(self, request: Request, identity: Identity) -> Response:
        if idempotency_key(request) is not None:
            raise InvalidMessage("a stream has many events: give each its event_id", "Idempotency-Key")
        taken, trace, at = Taken(), traceparent(request), 1
        try:
            async for found in lines(request):
                for start in range(0, len(found), AT_ONCE):
                    part = found[start : start + AT_ONCE]
                    at = part[0].number
                    await self._publish(part, identity, trace, taken)
                    at = part[-1].number + 1
        except (ServiceUnavailable, TooManyEvents, Refused) as error:
            return _broken(error, taken, at)
        if taken.accepted:
            return answer(taken, HTTPStatus.ACCEPTED)
        return _unprocessable(taken)

    async def _publish(self, part: Sequence[Line], identity: Identity, trace: str | None, taken: Taken) -> None:
        """Returns when Kafka has the good ones. Nothing of the part is counted unless it does."""
        told, events = Taken(), list[Event]()
        for line in part:
            try:
                if line.text is None:
                    raise InvalidMessage(f"longer than {MAX_LINE} bytes")
                events.append(_event(line.text, identity, bodies.MADE, None, None))
            except InvalidMessage as error:
                told.reject(line, error.problem, error.field)
        if events:
            await self._outbox.room(len(events), ROOM_S)
            await self._outbox.send(events, trace)
        taken.accepted += len(events)
        taken.rejected += told.rejected
        taken.errors += told.errors[: ERRORS_TOLD - len(taken.errors)]


def _event(raw: bytes, identity: Identity, body: Body[Any], event_id: str | None, transaction_id: str | None) -> Event:
    """The event a body stands for. Raises `InvalidMessage`.

    A transaction is made once, and reported as fraud once: where no event id is given it follows from the transaction's id,
    so that what is sent again is the same event.
    """
    said: Any = body.decode(raw)
    user_id = holder(identity, body.event, said)
    known = said.transaction_id or transaction_id
    if event_id is None and said.event_id is None and known is not None:
        event_id = uuid5(NAMESPACE_URL, f"{user_id}/{known}/{body.event.__name__}").hex
    event: Event = body.build(said, user_id, event_id, transaction_id)
    return event


def _broken(error: ServiceUnavailable | TooManyEvents | Refused, taken: Taken, at: int) -> Response:
    """The problem, with what was taken before it."""
    response = problems.of(error)
    body = msgspec.json.decode(response.body)
    return _with(taken, response, {**body, "resume_at": at})


def _unprocessable(taken: Taken) -> Response:
    first = taken.errors[0] if taken.errors else None
    detail = f"none of {taken.rejected} lines is good; the first: {first.detail}" if first else "the body is empty"
    response = problems.problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, first.field if first else None)
    return _with(taken, response, msgspec.json.decode(response.body))


def _with(taken: Taken, response: Response, fields: dict[str, Any]) -> Response:
    told = StreamProblem(**fields, accepted=taken.accepted, rejected=taken.rejected, errors=taken.errors)
    headers = {
        name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")
    }
    return Response(msgspec.json.encode(told), response.status_code, headers, problems.MEDIA_TYPE)
