"""The HTTP calls: each reads its request, makes an event of it and answers once Kafka has it; or reads the store.

The contracts of these calls are generated in `gateway.openapi` from the same definitions.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.bus import Delivered
from app.events import Event, RideEvent, TransactionEvent, UploadEvent
from app.tokens import DECISIONS_READ, EVENTS_WRITE, Identity
from gateway import bodies, cloudevents
from gateway.auth import Door
from gateway.bodies import Body, E
from gateway.estimates import Estimates
from gateway.outbox import Outbox
from gateway.problems import Refused
from gateway.reads import Reads
from gateway.requests import idempotency_key, need_id, need_json, read_body, traceparent

Handler = Callable[[Request], Awaitable[Response]]

RIDE_STEPS: dict[str, Body[Any]] = {
    "started": bodies.STARTED,
    "positions": bodies.POSITIONED,
    "completed": bodies.COMPLETED,
    "cancelled": bodies.CANCELLED,
}
"""The last segment of the path: what it reports."""


UNKNOWN = "nothing of yours has this id; of allowed transactions, only some are kept"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Kafka has the event: where it lies."""

    event_id: str
    topic: str
    partition: int
    offset: int


class RideAccepted(Accepted, frozen=True, kw_only=True):
    """Kafka has the ride's event.

    Attributes:
        initial_duration_min: a first estimate, minutes, where one was to be had at once; else null, and it comes live.
    """

    ride_id: str
    initial_duration_min: float | None = None


class UploadAccepted(Accepted, frozen=True, kw_only=True):
    """Kafka has the upload's event."""

    upload_id: str


class TransactionAccepted(Accepted, frozen=True, kw_only=True):
    """Kafka has the transaction's event."""

    transaction_id: str


AnyAccepted = RideAccepted | UploadAccepted | TransactionAccepted


class EventRoutes:
    """The calls that take events in."""

    def __init__(self, door: Door, outbox: Outbox, estimates: Estimates) -> None:
        self._door, self._outbox, self._estimates = door, outbox, estimates

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_route("/v1/rides", self.request_ride, methods=["POST"])
        for step, body in RIDE_STEPS.items():
            router.add_route(f"/v1/rides/{{ride_id}}/{step}", self._step(body), methods=["POST"])
        router.add_route("/v1/uploads", self.upload, methods=["POST"])
        router.add_route("/v1/events", self.events, methods=["POST"])
        return router

    async def request_ride(self, request: Request) -> Response:
        """The event asks for the first estimate itself; see `gateway.estimates`."""
        identity = self._door.admit(request.headers, EVENTS_WRITE)
        event = await self._read(request, identity, bodies.REQUESTED, None)
        with self._estimates.beginning() as estimate:
            places = await self._outbox.send([event], traceparent(request), estimate.headers)
            initial = await estimate.minutes()
        return answer(accepted(event, places[0], initial), HTTPStatus.ACCEPTED)

    def _step(self, body: Body[Any]) -> Handler:
        async def step(request: Request) -> Response:
            identity = self._door.admit(request.headers, EVENTS_WRITE)
            ride_id = need_id(request.path_params["ride_id"], "ride_id")
            return await self._deliver(request, await self._read(request, identity, body, ride_id))

        return step

    async def upload(self, request: Request) -> Response:
        """A new upload; with `"update": true` a new version of the upload it names."""
        identity = self._door.admit(request.headers, EVENTS_WRITE)
        need_json(request)
        said = bodies.UPLOADED.decode(await read_body(request))
        body: Body[Any] = bodies.UPLOADED
        if bodies.is_update(said):
            body = bodies.UPDATED
        event = body.build(said, identity.user_id, idempotency_key(request), None)
        return await self._deliver(request, event)

    async def events(self, request: Request) -> Response:
        identity = self._door.admit(request.headers, EVENTS_WRITE)
        batch, events = await cloudevents.read(request, identity)
        places = await self._outbox.send(events, traceparent(request))
        receipts = [accepted(event, place) for event, place in zip(events, places, strict=True)]
        return answer(receipts if batch else receipts[0], HTTPStatus.ACCEPTED)

    async def _read(self, request: Request, identity: Identity, body: Body[E], subject_id: str | None) -> E:
        need_json(request)
        said = body.decode(await read_body(request))
        return body.build(said, identity.user_id, idempotency_key(request), subject_id)

    async def _deliver(self, request: Request, event: Event) -> Response:
        places = await self._outbox.send([event], traceparent(request))
        return answer(accepted(event, places[0]), HTTPStatus.ACCEPTED)


class DecisionRoutes:
    """The calls that tell what was decided, each user of what is theirs."""

    def __init__(self, door: Door, reads: Reads) -> None:
        self._door, self._reads = door, reads

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_route("/v1/decisions/{subject_id}", self.decision)
        router.add_route("/v1/decisions/{subject_id}/receipt", self.receipt)
        return router

    async def decision(self, request: Request) -> Response:
        user_id, subject_id = self._asked(request)
        decided = await self._reads.decided(user_id, subject_id)
        if decided is None:
            raise Refused(HTTPStatus.NOT_FOUND, UNKNOWN, "subject_id")
        return answer(decided)

    async def receipt(self, request: Request) -> Response:
        user_id, subject_id = self._asked(request)
        receipt = await self._reads.receipt(user_id, subject_id)
        if receipt is None:
            raise Refused(HTTPStatus.NOT_FOUND, UNKNOWN, "subject_id")
        return answer(receipt)

    def _asked(self, request: Request) -> tuple[str, str]:
        identity = self._door.admit(request.headers, DECISIONS_READ)
        return identity.user_id, need_id(request.path_params["subject_id"], "subject_id")


def accepted(event: Event, place: Delivered, initial_duration_min: float | None = None) -> AnyAccepted:
    """The answer to an event that Kafka has acknowledged."""
    lies = place._asdict()
    if isinstance(event, RideEvent):
        initial = None if initial_duration_min is None else round(initial_duration_min, 2)
        return RideAccepted(event_id=event.event_id, ride_id=event.ride_id, initial_duration_min=initial, **lies)
    if isinstance(event, UploadEvent):
        return UploadAccepted(event_id=event.event_id, upload_id=event.upload_id, **lies)
    if isinstance(event, TransactionEvent):
        return TransactionAccepted(event_id=event.event_id, transaction_id=event.transaction_id, **lies)
    raise TypeError(f"no answer is defined for {type(event).__name__}")


def answer(content: object, status: int = HTTPStatus.OK) -> Response:
    """A JSON response; it is the caller's alone, so nobody may keep it."""
    return Response(msgspec.json.encode(content), status, {"Cache-Control": "no-store"}, media_type="application/json")
