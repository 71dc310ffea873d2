"""Synchronous questions and their answers, as they lie on the topics `requests.<agent>` and `replies`.

Between `app.asking.asker` (who asks) and `app.modes.ask` (who answers). One record is one question of many rows; its headers
say until when an answer is of use and where it is to go, so that a worker can drop, or refuse, what it does not decode. The record
of an event can carry the same headers: then whoever sent it also wants one agent's word on it at once (`app.modes.stream`).
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

from msgspec import Struct

from app.codec import Headers
from app.errors import InvalidMessage
from app.events import AnyEvent
from app.predictions import Detail

MAX_ROWS = 500
"""Rows of one question: some 15 ms of the slowest agent, so that nobody behind it waits long."""

MAX_REQUEST_BYTES = 900 << 10
"""Of one question; below Kafka's own limit of 1 MB for a record."""

MAX_REPLY_BYTES = 4 << 20
"""Of one answer: 500 tracks of `eta` take 600 KB."""

MAX_WITHIN_S = 30.0
"""The longest anybody may wait for an answer."""

REQUESTS_SUFFIX = ".requests"
DEADLINE, REPLY_TO, ASKER, CALL = "deadline_ms", "reply_partition", "asker", "call"
ASKED = "asked"
"""On the record of an event: the agent whose word is wanted. On a topic of requests, the topic says it."""


def request_group(agent: str) -> str:
    """The consumer group in which an agent's workers answer; who is in it serves the agent."""
    return f"millrace.{agent}{REQUESTS_SUFFIX}"


class Request(Struct, frozen=True, gc=False, tag_field="type", tag="millrace.request.v1"):
    """What is asked of an agent: a value for each of these events, in order, as if nothing else had ever happened.

    Attributes:
        publish: the predictions go to the topic `predictions`, too, marked `via` "ask".
    """

    events: tuple[AnyEvent, ...]
    publish: bool = False


class Address(NamedTuple):
    """The headers of a request.

    Attributes:
        deadline_ms: milliseconds since 1970, the asker's clock; past it, the request is dropped.
        partition: of the topic `replies`.
        asker: a random name of the process that asks: what is not its own it ignores.
        call: names the request among the asker's.
    """

    deadline_ms: int
    partition: int
    asker: str
    call: str

    def headers(self) -> Headers:
        return (
            (DEADLINE, b"%d" % self.deadline_ms),
            (REPLY_TO, b"%d" % self.partition),
            (ASKER, self.asker.encode()),
            (CALL, self.call.encode()),
        )

    def on_event(self, agent: str) -> Headers:
        """The headers of an event on which this agent's word is wanted at once."""
        return ((ASKED, agent.encode()), *self.headers())

    @classmethod
    def read(cls, headers: Headers) -> Self:
        """The address in these headers. Raises `InvalidMessage` naming the header that is missing or wrong."""
        named = dict(headers)
        return cls(_number(named, DEADLINE), _number(named, REPLY_TO), _text(named, ASKER), _text(named, CALL))


class Reply(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="millrace.reply.v1"):
    """The answer to one request, row by row.

    Attributes:
        values: as many as were asked for, in `unit`; null where there is none, and `problems` says why.
        details: extras of each row, or empty when the agent gives none.
        problems: row (as a decimal number) -> why it has no value.
        error: why there is no answer at all; everything else is empty then.
        passing: whether the error may pass, so that asking again later makes sense.
    """

    asker: str
    call: str
    agent: str
    version: str = ""
    unit: str = ""
    values: tuple[float | None, ...] = ()
    details: tuple[Detail | None, ...] = ()
    problems: dict[str, str] = {}
    error: str = ""
    passing: bool = False


class Answer(NamedTuple):
    """What the caller of `Asks.ask` gets for n events.

    Attributes:
        version: of the model that answered all of them.
        values: n, in `unit`; `None` where there is none.
        details: n; JSON-encodable extras, or `None`.
        problems: row -> why it has no value; every row is here or has a value.
    """

    agent: str
    version: str
    unit: str
    values: tuple[float | None, ...]
    details: tuple[Detail | None, ...]
    problems: dict[int, str]


def _text(headers: Mapping[str, bytes], name: str) -> str:
    raw = headers.get(name, b"")
    if not 0 < len(raw) <= 64 or not raw.isascii():
        raise InvalidMessage("a request carries this header", name)
    return raw.decode()


def _number(headers: Mapping[str, bytes], name: str) -> int:
    text = _text(headers, name)
    if not text.isdecimal() or len(text) > 15:
        raise InvalidMessage("not a whole number", name)
    return int(text)
