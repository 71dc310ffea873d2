"""What `/metrics` tells Prometheus about one gateway process."""

import contextlib
import math
import time
from collections.abc import Awaitable, Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ServiceUnavailable
from app.sql.card_figures import CardFigures

# A POST takes a few milliseconds, its deadline is 5 s.
BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


CARDS = {
    "allowed": "card transactions allowed, ever",
    "reviewed": "card transactions held for a review, ever",
    "blocked": "card transactions blocked, ever",
    "caught": "reported frauds that were held",
    "missed": "reported frauds that were allowed",
    "precision": "of those held, the share reported so far",
    "recall": "of those reported so far, the share held",
    "saved_usd": "what the caught frauds would have cost, less reviews and blocks nobody reported",
}
"""Fields of `app.sql.card_figures.CardFigures`."""


class Metrics:
    """What one gateway counts, and with it what its process counts (`app.telemetry`, memory, processor time).

    They have a registry of their own, so that one process can hold several gateways (the tests do).
    """

    def __init__(
        self,
        connections: Callable[[], int],
        in_flight: Callable[[], int],
        cards: Callable[[], Awaitable[CardFigures | None]],
    ) -> None:
        self._cards = cards
        self._registry = CollectorRegistry()
        self._registry.register(REGISTRY)
        self._requests = Counter(
            "millrace_http_requests", "HTTP requests answered", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "millrace_http_seconds",
            "from the request's head to the end of its response",
            ["route"],
            registry=self._registry,
            buckets=BUCKETS,
        )
        live = Gauge("millrace_live_connections", "open websockets and event streams", registry=self._registry)
        live.set_function(connections)
        held = Gauge("millrace_events_in_flight", "events on their way to Kafka", registry=self._registry)
        held.set_function(in_flight)
        self._card_gauges = {
            name: Gauge(f"millrace_cards_{name}", what, registry=self._registry) for name, what in CARDS.items()
        }

    async def endpoint(self, _: Request) -> Response:
        with contextlib.suppress(ServiceUnavailable):  # then they stay as they were; /health/ready tells
            if (figures := await self._cards()) is not None:
                for name, gauge in self._card_gauges.items():
                    value = getattr(figures, name)
                    gauge.set(math.nan if value is None else value)
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request by the pattern of its path: the path itself is the client's to choose."""
        route = _pattern(scope)
        self._requests.labels(scope["method"], route, status).inc()
        if route != "/v1/live":  # as long as somebody listens
            self._seconds.labels(route).observe(seconds)


def _pattern(scope: Scope) -> str:
    if "endpoint" not in scope:
        return "unmatched"
    if "/static" in (scope["path"][:7], scope.get("root_path")):
        return "/static"
    names = {value: f"{{{name}}}" for name, value in scope.get("path_params", {}).items()}
    return "/".join(names.get(segment, segment) for segment in scope["path"].split("/"))


class Measured:
    """The ASGI application with every HTTP request counted and timed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, began = 500, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.observe(scope, status, time.perf_counter() - began)
        return None
