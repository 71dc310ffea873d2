"""How to ask an agent and wait: the caller's side of request-reply over Kafka. No HTTP here, and no Faust.

A question goes to the topic `requests.<agent>` and its answer comes back on this process's own partition of `replies`
(`app.asking.inbox`). Whatever dies, every question ends by its deadline, with an answer or with one of `app.errors.AskingFailed`.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Collection, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import uuid4

from app.asking.inbox import Inbox, KafkaInbox
from app.asking.requests import MAX_REQUEST_BYTES, MAX_ROWS, MAX_WITHIN_S, Address, Answer, Reply, Request
from app.asking.served import Served, Serving
from app.bus import KafkaProducer, Outgoing, Producer
from app.codec import Decoder, Headers, Record, encode
from app.errors import (
    AskingFailed,
    DeadlineExceeded,
    MillraceError,
    NotAnswered,
    NotServed,
    Overloaded,
    TooLarge,
)
from app.events import Event
from app.settings import Settings
from app.telemetry import REPLIES
from app.topics import request_topic

log = logging.getLogger(__name__)

ID_PREFIX = "ask:"
"""Begins the id of an event that was only asked about. No client may choose such an id for an event it posts: a published
prediction of the one could otherwise pass for the answer to the other."""


def fresh_id() -> str:
    """An id for an event that is only asked about."""
    return f"{ID_PREFIX}{uuid4().hex}"


class Expected(NamedTuple):
    """An answer that is waited for.

    Attributes:
        headers: of the event's record: they say where the answer is to go.
        answer: of one row. Raises as `Asks.ask` does.
    """

    headers: Headers
    answer: Awaitable[Answer]


class Asks(Protocol):
    """Who can be asked; `Asker` is the one over Kafka."""

    async def ask(self, agent: str, events: Sequence[Event], within_s: float, *, publish: bool = False) -> Answer:
        """The agent's word on each of these events, in order, within `within_s` seconds.

        A row that cannot be scored fails alone, in `Answer.problems`. A state is never moved: a stateful agent answers
        from these events alone, each as if those before it were all that ever happened.

        Args:
            agent: the bare name, for instance "eta".
            events: what the agent consumes (or follows: such a row has a problem instead of a value), at most
                `app.asking.requests.MAX_ROWS`.
            within_s: seconds until the deadline, at most `app.asking.requests.MAX_WITHIN_S`.
            publish: put the predictions on the topic `predictions`, and so into the store, as well; the events then bear ids of
                `app.asking.asker.fresh_id`.

        Raises (all `app.errors.AskingFailed`, a `MillraceError`):
            DeadlineExceeded: no answer in time (HTTP 504).
            NotServed: no worker serves the agent; known beforehand, not by waiting (503).
            Overloaded: too many questions wait already (503).
            TooLarge: too many rows or bytes (413).
            NotAnswered: the worker refused the question (422).
        """
        ...

    def expecting(self, agent: str, within_s: float) -> AbstractContextManager[Expected]:
        """Want the agent's word on an event that goes to its topic anyway; nothing is sent here.

        Within the context, send the event with the headers and await the answer: the agent's workers answer from their
        stream what they also publish. Raises `NotServed` or `Overloaded` on entering.
        """
        ...

    def serves(self, agent: str) -> bool:
        """Whether this agent could be asked now: of what is known, without waiting."""
        ...


@dataclass(frozen=True)
class Limits:
    """What may wait at once in one process.

    Attributes:
        calls: questions without an answer; at 1,500 a second they are all answered within a third of a second.
        rows: of all of them.
    """

    calls: int = 512
    rows: int = 16_000


class _Call(NamedTuple):
    agent: str
    rows: int
    answer: "asyncio.Future[Answer]"


class Asker:
    """Asks over Kafka; one per process, made by `kafka_asker`.

    What waits is bounded, and so is how long: what would wait longer is refused at once. What is asked within one turn of the
    event loop is sent as one, and what has come back is decoded as one.

    Args:
        producer: of its own, so that no question waits behind another topic's records.
        partitions: of each topic of requests.
    """

    def __init__(
        self, producer: Producer, inbox: Inbox, serving: Serving, partitions: int, limits: Limits | None = None
    ) -> None:
        self._producer, self._inbox, self._serving = producer, inbox, serving
        self._partitions, self._limits = partitions, limits or Limits()
        self._name = secrets.token_hex(8)
        self._numbers, self._turns = itertools.count(), itertools.count()
        self._calls: dict[str, _Call] = {}
        self._rows = self._unsent = 0
        self._waiting: list[Outgoing] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._decoder: Decoder[Reply] = Decoder(Reply)

    @property
    def pending(self) -> int:
        """Questions that wait for an answer."""
        return len(self._calls)

    @property
    def ready(self) -> bool:
        """Whether an answer could reach us."""
        return self._inbox.partition is not None

    async def start(self) -> None:
        """Connect, in the background: until then nobody is served. Never fails; an absent broker is waited for."""
        self._own(self._inbox.run(self._hear))
        self._own(self._serving.run())

    async def close(self) -> None:
        """Let go; whoever waits still is told that nobody answers any more."""
        for call in list(self._calls.values()):
            _fail(call, NotServed(call.agent, "this process is ending"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._producer.close()

    async def ask(self, agent: str, events: Sequence[Event], within_s: float, *, publish: bool = False) -> Answer:
        """See `Asks.ask`."""
        if not 0 < within_s <= MAX_WITHIN_S:
            raise ValueError(f"within_s: {within_s:g} is not in (0, {MAX_WITHIN_S:g}]")
        if publish and not all(event.event_id.startswith(ID_PREFIX) for event in events):
            raise ValueError("what is to be published bears ids of `fresh_id`")
        with self._calling(agent, len(events), within_s) as (address, answer):
            value = encode(Request(tuple(events), publish))  # type: ignore[arg-type]  # every event is one of AnyEvent
            if len(value) > MAX_REQUEST_BYTES:
                raise TooLarge(agent, f"{len(value):,} bytes, and {MAX_REQUEST_BYTES:,} are taken: ask in parts")
            self._put(Outgoing(request_topic(agent).name, None, value, address.headers()))
            return await answer

    @contextmanager
    def expecting(self, agent: str, within_s: float) -> Iterator[Expected]:
        """See `Asks.expecting`."""
        with self._calling(agent, 1, within_s) as (address, answer):
            yield Expected(address.on_event(agent), answer)

    def serves(self, agent: str) -> bool:
        """See `Asks.serves`."""
        return self.ready and self._serving.serves(agent)

    @contextmanager
    def _calling(self, agent: str, rows: int, within_s: float) -> Iterator[tuple[Address, "asyncio.Future[Answer]"]]:
        """A call that waits for its answer: where that is to go, and what ends by the deadline at the latest."""
        partition = self._admit(agent, rows)
        loop, number = asyncio.get_running_loop(), str(next(self._numbers))
        call = self._calls[number] = _Call(agent, rows, loop.create_future())
        self._rows += rows
        deadline = loop.call_later(within_s, _fail, call, DeadlineExceeded(agent, f"no answer within {within_s:g} s"))
        try:
            yield Address(int((time.time() + within_s) * 1000), partition, self._name, number), call.answer
        finally:
            deadline.cancel()
            self._rows -= rows
            del self._calls[number]
            if not call.answer.cancel() and not call.answer.cancelled():
                call.answer.exception()  # seen: whoever asked may have left before it was answered

    def _admit(self, agent: str, rows: int) -> int:
        """Our partition of replies. Raises what speaks against asking at all."""
        if rows > MAX_ROWS:
            raise TooLarge(agent, f"{rows:,} rows, and {MAX_ROWS:,} are taken: ask in parts")
        partition = self._inbox.partition
        if partition is None:
            raise NotServed(agent, "this process has no connection to Kafka yet")
        if not self._serving.serves(agent):
            raise NotServed(agent, "no worker serves it")
        full = len(self._calls) >= self._limits.calls or self._unsent >= self._limits.calls
        if full or self._rows + rows > self._limits.rows:
            raise Overloaded(agent, "too many questions wait already")
        return partition

    def _put(self, record: Outgoing) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(record)

    def _flush(self) -> None:
        """Send what was asked in this turn: to one partition, and to the next one in the next turn."""
        records, self._waiting = self._waiting, []
        partition = next(self._turns) % self._partitions
        self._own(self._send([record._replace(partition=partition) for record in records]))

    async def _send(self, records: Sequence[Outgoing]) -> None:
        """A question that does not get through ends at its deadline, as one that is not answered does."""
        self._unsent += len(records)
        try:
            await self._producer.send(records)
        except MillraceError as error:
            log.warning("%d questions were not sent: %s", len(records), error)
        finally:
            self._unsent -= len(records)

    def _hear(self, records: Sequence[Record]) -> None:
        """What has come in on our partition; what is not ours, or nobody waits for any more, is counted."""
        replies, failures = self._decoder.decode_batch(records)
        kinds: dict[str, int] = defaultdict(int)
        for reply in replies:
            if reply is not None:
                kinds[self._settle(reply)] += 1
        kinds["unreadable"] += len(failures)
        for kind, count in kinds.items():
            REPLIES.labels(kind).inc(count)

    def _settle(self, reply: Reply) -> str:
        if reply.asker != self._name:
            return "not ours"
        call = self._calls.get(reply.call)
        if call is None or call.answer.done():
            return "late"
        if reply.error:
            _fail(call, (NotServed if reply.passing else NotAnswered)(call.agent, reply.error))
            return "refused"
        if len(reply.values) != call.rows:
            _fail(call, NotAnswered(call.agent, f"{len(reply.values)} rows came back for {call.rows}"))
            return "unreadable"
        call.answer.set_result(_answer(reply))
        return "answered"

    def _own(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def kafka_asker(settings: Settings, agents: Collection[str], limits: Limits | None = None) -> Asker:
    """An asker on these services, of the agents whose names these are."""
    kafka = settings.kafka or ""
    inbox = KafkaInbox(kafka, settings.redis)
    return Asker(KafkaProducer(kafka, "millrace.ask"), inbox, Served(kafka, agents), settings.partitions, limits)


def _answer(reply: Reply) -> Answer:
    details = reply.details or (None,) * len(reply.values)
    problems = {int(row): problem for row, problem in reply.problems.items()}
    return Answer(reply.agent, reply.version, reply.unit, reply.values, details, problems)


def _fail(call: _Call, error: AskingFailed) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)
