"""Against a real HTTP server that answers as gateways do on bad days."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from aiohttp import web

from app.codec import encode
from app.events import AnyEvent, ContentUpdated, ContentUploaded, RideCompleted, RidePositioned, RideRequested
from app.tokens import Tokens
from gateway import bodies
from simulator.badges import Badges
from simulator.courier import ROUTES, Courier, body
from simulator.errors import NoGateway
from simulator.findings import Findings
from simulator.pace import Due
from simulator.trips import TripMaker

SECRET = b"s" * 32
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
make = TripMaker("c", every=timedelta(minutes=3))


class Gateway:
    """Takes events; the first answers can be scripted: a status, or "hang up"."""

    def __init__(self, *answers: int | str) -> None:
        self.answers, self.got, self.tries = list(answers), list[tuple[str, str]](), 0

    async def post(self, request: web.Request) -> web.Response:
        self.tries += 1
        said, path = await request.read(), request.path
        user = Tokens(SECRET).verify(request.headers["Authorization"].removeprefix("Bearer ")).user_id
        answer = self.answers.pop(0) if self.answers else 202
        if answer == "hang up":
            assert request.transport is not None
            request.transport.close()
        self.got.append((path, said.decode()))
        if answer == 202:
            assert f'"user_id":"{user}"' in said.decode()
            return web.json_response({}, status=202)
        return web.json_response({"detail": "no", "field": "at"}, status=int(answer) if answer != "hang up" else 500)


async def alive(_: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/health/live", alive)
    app.router.add_post("/{tail:.*}", gateway.post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def due(events: Iterable[AnyEvent]) -> AsyncIterator[Due]:
    for event in events:
        yield Due(event, 0.0)


async def send(
    gateway: Gateway, events: Iterable[AnyEvent], findings: Findings | None = None, **options: float
) -> Courier:
    async with (
        running(gateway) as url,
        Courier(url, Badges(SECRET), lanes=8, witness=findings, rng=Random(1), **options) as courier,
    ):
        async with asyncio.timeout(30):
            await courier.run(due(events))
    return courier


def rides(count: int) -> list[list[AnyEvent]]:
    return [list(make(number, NOW, Random(number))) for number in range(count)]


async def test_every_event_arrives_and_those_of_a_user_in_order() -> None:
    gateway, lives = Gateway(), rides(30)
    courier = await send(gateway, [event for life in lives for event in life])
    assert courier.tally.accepted == len(gateway.got) == sum(map(len, lives))
    for life in lives:
        paths = [ROUTES[type(event)].format(event.subject_id) for event in life]
        bodies_ = [body(event).decode() for event in life]
        assert [got for got in gateway.got if life[0].subject_id + '"' in got[1]] == list(
            zip(paths, bodies_, strict=True)
        )


@pytest.mark.parametrize("answer", [503, 429, 502, 504, "hang up"])
async def test_what_may_heal_is_tried_again_with_the_same_event_id(answer: int | str) -> None:
    gateway = Gateway(answer, answer)
    courier = await send(gateway, rides(1)[0][:1])
    assert gateway.tries == 3
    assert len({said for _, said in gateway.got}) == 1
    assert (courier.tally.accepted, courier.tally.retries) == (1, 2)


async def test_a_refusal_is_for_good_and_nothing_is_owed_for_it() -> None:
    gateway, findings = Gateway(422), Findings()
    courier = await send(gateway, [life[0] for life in rides(2)], findings)
    assert courier.tally.refused == {"422 at: no": 1}
    assert gateway.tries == 2
    assert len(findings.missing) == 1


async def test_an_event_is_given_up_when_the_patience_is_spent() -> None:
    findings = Findings()
    courier = await send(Gateway(*[503] * 100), rides(1)[0][:1], findings, patience_s=0.5)
    assert (courier.tally.abandoned, courier.tally.accepted) == (1, 0)
    assert len(findings.missing) == 1  # its fate is unknown, so it is still owed a decision


async def test_nobody_there_is_said_at_once() -> None:
    async with running(Gateway()) as url:
        pass  # the port is free again
    with pytest.raises(NoGateway, match="no gateway at http"):
        async with Courier(url, Badges(SECRET)):
            pass


def test_the_bodies_are_what_the_gateway_takes() -> None:
    upload = ContentUploaded(
        event_id="u1.uploaded", user_id="creator-1", upload_id="u1", at=NOW, title="T", tags=("a",)
    )
    update = ContentUpdated(event_id="u1.updated", user_id="creator-1", upload_id="u1", at=NOW, title="U")
    assert bodies.UPLOADED.build(bodies.UPLOADED.decode(body(upload)), "creator-1", None, None) == upload
    said = bodies.UPLOADED.decode(body(update))
    assert bodies.is_update(said)
    assert bodies.UPDATED.build(said, "creator-1", None, None) == update
    takes = {RideRequested: bodies.REQUESTED, RidePositioned: bodies.POSITIONED, RideCompleted: bodies.COMPLETED}
    for event in (event for life in rides(20) for event in life if type(event) in takes):
        taken = takes[type(event)]
        built = taken.build(taken.decode(body(event)), event.user_id, None, event.subject_id)
        assert encode(built) == encode(event)
