"""The calls about the system itself: pages, probes, status, tokens of the demo."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from app.errors import InvalidMessage
from app.tokens import OPERATOR_SCOPES, STATUS_READ, Tokens
from gateway.auth import Door
from gateway.problems import Refused
from gateway.requests import need_id, query
from gateway.routes import answer
from gateway.status import Status

STATIC = Path(__file__).parent / "static"
SWAGGER = Path(fastapi_offline.__file__).parent / "static"
DEMO_TTL = timedelta(hours=12)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Of our pages: what is ours, and nothing within the page. `ws:` is named, for not every browser counts it to 'self'."""


class Health(Struct, frozen=True, kw_only=True):
    """A probe's good answer."""

    status: str = "ok"


class DemoToken(Struct, frozen=True, kw_only=True):
    """A token for whoever asks; `expires_at` in POSIX seconds."""

    token: str
    user_id: str
    scope: str
    expires_at: float


class SystemRoutes:
    """Args: `fallen` is set when a task of the process has died."""

    def __init__(self, door: Door, status: Status, fallen: asyncio.Event) -> None:
        self._door, self._status, self._fallen = door, status, fallen

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_route("/", self.page)
        router.add_route("/docs", self.docs)
        router.add_route("/v1/status", self.status)
        router.add_route("/health/live", self.alive)
        router.add_route("/health/ready", self.ready)
        return router

    async def page(self, _: Request) -> Response:
        return page("index.html")

    async def docs(self, _: Request) -> Response:
        return page("docs.html")

    async def status(self, request: Request) -> Response:
        self._door.admit(request.headers, STATUS_READ)
        return answer(await self._status.current())

    async def alive(self, _: Request) -> Response:
        if self._fallen.is_set():
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "a task of this process has died: restart it", Retry_After="5"
            )
        return answer(Health())

    async def ready(self, _: Request) -> Response:
        """Whether Kafka, Redis and the database answered within the last seconds."""
        down = self._status.down
        if down:
            parts = ", ".join(sorted(down))
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"no answer from: {parts}", Retry_After="1")
        return answer(Health())


def page(name: str, styles: str = "'self'") -> Response:
    """One of our pages, and where its scripts and styles may come from."""
    return FileResponse(STATIC / name, headers={"Content-Security-Policy": _POLICY.format(styles=styles)})


class DemoTokens:
    """Hands out tokens, of the operator's rights too; mounted in the demo only."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def endpoint(self, request: Request) -> Response:
        user_id = need_id(query(request, "user").get("user", "demo"), "user")
        try:
            token = self._tokens.mint(user_id, OPERATOR_SCOPES, DEMO_TTL)
        except ValueError as error:
            raise InvalidMessage(str(error), "user") from error
        identity = self._tokens.verify(token)
        scope = " ".join(OPERATOR_SCOPES)
        return answer(DemoToken(token=token, user_id=user_id, scope=scope, expires_at=identity.expires_at))
