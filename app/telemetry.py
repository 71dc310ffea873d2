"""What a process tells of itself: logs, counters, and the trace an event belongs to.

The counters are Prometheus'. A worker serves no HTTP but for them, where a port is set (`expose`); the gateway has `/metrics`.
"""

import logging
import math
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from app.errors import ConfigurationError
from app.settings import Settings

log = logging.getLogger(__name__)

RECORDS = Counter("millrace_records", "Records consumed, by how each ended", ["agent", "outcome"])
BATCH = Histogram(
    "millrace_batch_records", "Records handled at once", ["agent"], buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384)
)
SCORING = Histogram(
    "millrace_scoring_seconds",
    "Features and model, per batch",
    ["agent"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)
LATENCY = Histogram(
    "millrace_latency_seconds",
    "From the broker's timestamp of the slowest record of a batch to its prediction",
    ["agent"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)
HANGS = Counter("millrace_hangs", "Calls of a model or its features that did not return in time", ["agent"])
REQUESTS = Counter("millrace_requests", "Synchronous questions taken, by how each ended", ["agent", "outcome"])
REQUESTS_AT_ONCE = Histogram(
    "millrace_requests_at_once",
    "Synchronous questions scored together",
    ["agent"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
REPLIES = Counter("millrace_replies", "Answers that came in on our partition, by what they were", ["kind"])
DECISIONS = Counter("millrace_decisions", "Decisions on the topic, repeats included", ["kind", "action"])
MISSING = Counter("millrace_missing_answers", "Expected models without an answer when a decision was made", ["model"])
LAG = Gauge("millrace_lag_records", "Records of the assigned partitions not yet committed", ["group"])

_MESSAGES = 1000
"""Different ones remembered; aiokafka has some two hundred."""

_PORTS = 32
"""Tried one after the other; more workers than on one machine with `millrace up --apart`."""

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")


class Sparing(logging.Filter):
    """Lets a message of aiokafka's through once in `every_s`: while a broker is away it says so every second.

    The same message is the same format string of the same logger; the next one let through says how many were not.
    """

    def __init__(self, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("aiokafka")
        self._every_s, self._clock = every_s, clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        message, now = (record.name, str(record.msg)), self._clock()
        at, spared = self._said.get(message, (-math.inf, 0))
        if now - at < self._every_s:
            self._said[message] = at, spared + 1
            return False
        if len(self._said) >= _MESSAGES:  # made up as they go, not format strings
            self._said.clear()
        self._said[message] = now, 0
        if spared:
            record.msg, record.args = f"{record.getMessage()} (and {spared} times before)", None
        return True


def setup_logging(level: str) -> None:
    """Log to standard error, one line per record; what Faust and aiokafka say is kept to warnings, and to one of a kind."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sparing = Sparing()
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, Sparing) for each in handler.filters):
            handler.addFilter(sparing)
    for chatty in ("faust", "mode", "aiokafka", "app.modes.consuming.transport"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # each late commit of a busy machine; the lag tells more


def observe(settings: Settings) -> None:
    """What every worker begins with: its log, and where a port is set its counters."""
    setup_logging(settings.log_level)
    if settings.metrics_port is not None:
        log.info("counters at %s:%d/metrics", settings.host, expose(settings.host, settings.metrics_port))


def expose(host: str, port: int) -> int:
    """Serve this process's counters to Prometheus, from a thread: at this port or the next that is free, which is returned.

    The next, because the workers of one machine share their settings. Raises `ConfigurationError` when none can be had.
    """
    for taken in range(port, port + _PORTS):
        with suppress(OSError, OverflowError):  # beyond 65535
            start_http_server(taken, host)
            return taken
    raise ConfigurationError(f"MILLRACE_METRICS_PORT: none of {_PORTS} ports from {port} on can be had on {host}")


def child_of(traceparent: str | None) -> str | None:
    """The next span of the same W3C trace (https://www.w3.org/TR/trace-context/).

    `None` where there is no trace, or none that is well formed: whoever sends an event begins its trace, or does without.

    Example:
        >>> child_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")[:36]
        '00-0af7651916cd43dd8448eb211c80319c-'
    """
    if traceparent is None or not _TRACEPARENT.match(traceparent):
        return None
    return f"{traceparent[:36]}{random.getrandbits(64):016x}{traceparent[52:]}"
