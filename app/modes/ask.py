"""Request-reply: an agent answers whoever asks and waits, from a topic and a consumer group of its own.

Beside `app.modes.stream`, on the same model and the same scorer, so with the same bits; `app.asking` is the other end.
Requests that wait together reach the model as one batch. What nobody waits for any more is dropped, and counted. A
request never moves an agent's state: it is answered as if its own events were all that ever happened.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy.exc import OperationalError

from app.agent import Agent, Scores
from app.bus import Outgoing, Producer, deliver, partition_of
from app.codec import Decoder, Record, encode
from app.errors import DeliveryFailed, InvalidMessage, ServiceUnavailable
from app.events import AnyEvent
from app.modes.dead_letters import cause_of, dead_letter
from app.modes.group import Group
from app.modes.lifecycle import together
from app.modes.process import Processor, Scored, outgoing
from app.modes.progress import RecordBatch
from app.modes.scoring import Memory, Plain, Scorer
from app.modes.throwaway import Throwaway
from app.modes.watchdog import watch
from app.predictions import Detail
from app.requests import MAX_REPLY_BYTES, MAX_ROWS, Address, Reply, Request, request_group
from app.settings import Settings
from app.telemetry import REQUESTS, REQUESTS_AT_ONCE
from app.topics import REPLIES, request_topic

_FRAME_BYTES = 1024  # what Kafka adds to a reply
_PASSES = (ServiceUnavailable, OperationalError, ConnectionError)
"""What scoring raises when a shared state's database stays away."""


class Call(NamedTuple):
    """One request that has arrived: its rows are to be scored."""

    address: Address
    record: Record
    request: Request


class Answers(NamedTuple):
    """What follows from some calls: replies, worthless after the last of their deadlines, and what must not get lost."""

    replies: list[Outgoing]
    kept: list[Outgoing]
    until_ms: int = 0


class Answering:
    """One agent, answering what is asked of it.

    Args:
        scorer: of the agent; that of its stream, so that no two threads are in one model.
    """

    def __init__(
        self,
        agent: Agent,
        version: str,
        scorer: Scorer,
        producer: Producer,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._agent, self._version, self._scorer, self._producer = agent, version, scorer, producer
        self._settings, self._clock = settings, clock
        self._decoder: Decoder[Request] = Decoder(Request)
        self._takes = f"{agent.name} answers {' or '.join(event.__name__ for event in agent.consumes)}"
        self._words = Processor(agent, version, Decoder(AnyEvent), scorer, via="ask")
        self._shared = agent.shared(settings.database_url, remember=False) if agent.shared is not None else None
        self._waiting: list[Call] = []
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Answer until cancelled, or raise what ended it; in a consumer group, so that the agent's workers share the work."""
        name = self._agent.name
        group = Group(request_group(name), [request_topic(name)], self._handle, self._settings)
        await together(group.run(), watch(group, self._settings.stuck_after))

    async def _handle(self, batch: RecordBatch) -> None:
        await self.answer(batch.records)

    async def answer(self, records: Sequence[Record]) -> None:
        """Answer these requests, with all that came on other partitions meanwhile, and deliver the answers."""
        calls, answers = self._read(records)
        self._waiting += calls
        async with self._turn:
            taken, self._waiting = self._waiting, []  # whoever has the turn takes what the others brought
            for some in _portions(taken, self._agent.max_batch):
                answers = _merged(answers, await self._answer(some))
            if answers.kept:
                await deliver(self._producer, answers.kept)
        await self._reply(answers)

    def _read(self, records: Sequence[Record]) -> tuple[list[Call], Answers]:
        """The calls in these records; and the answers to those that cannot be read."""
        now_ms, answers = self._clock() * 1000, Answers([], [])
        addressed: list[tuple[Address, Record]] = []
        for record in records:
            try:
                address = _address(record)
            except InvalidMessage as error:
                REQUESTS.labels(self._agent.name, "nowhere to answer").inc()
                at = datetime.fromtimestamp(now_ms / 1000, UTC)
                answers.kept.append(dead_letter(record, self._group_name, cause_of(error), str(error), at))
            else:
                addressed.append((address, record))
        requests, failures = self._decoder.decode_batch([record for _, record in addressed])
        errors = iter(failures)
        calls = []
        for (address, record), request in zip(addressed, requests, strict=True):
            problem = str(next(errors).error) if request is None else ""
            if request is not None and not 0 < len(request.events) <= MAX_ROWS:
                problem = f"events: 1 to {MAX_ROWS} are taken, not {len(request.events)}"
            if request is None or problem:
                answers = _merged(answers, self._refusal(address, problem))
            else:
                calls.append(Call(address, record, request))
        return calls, answers

    @property
    def _group_name(self) -> str:
        return request_group(self._agent.name).removeprefix("millrace.")

    def _refusal(self, address: Address, problem: str, *, passing: bool = False) -> Answers:
        REQUESTS.labels(self._agent.name, "unanswerable" if passing else "refused").inc()
        reply = Reply(address.asker, address.call, self._agent.name, error=problem, passing=passing)
        return Answers([_outgoing(address, reply)], [], address.deadline_ms)

    async def _answer(self, calls: Sequence[Call]) -> Answers:
        """Score what is still waited for, all rows of all calls at once."""
        now_ms = self._clock() * 1000
        alive = [call for call in calls if call.address.deadline_ms > now_ms]
        REQUESTS.labels(self._agent.name, "expired").inc(len(calls) - len(alive))
        if not alive:
            return Answers([], [])
        REQUESTS_AT_ONCE.labels(self._agent.name).observe(len(alive))
        sees = self._agent.sees
        rows = [[row for row, event in enumerate(call.request.events) if sees(event)] for call in alive]
        events = [[call.request.events[row] for row in seen] for call, seen in zip(alive, rows, strict=True)]
        try:
            scores = await self._scores(events)
        except _PASSES as error:
            refusals = [self._refusal(call.address, str(error), passing=True) for call in alive]
            return _merged(Answers([], []), *refusals)
        answers, first = [], 0
        for call, seen in zip(alive, rows, strict=True):
            mine = _part(scores, first, first + len(seen))
            kept = self._published(call, seen, mine) if call.request.publish else []
            answers.append(
                Answers([_outgoing(call.address, self._reply_of(call, seen, mine))], kept, call.address.deadline_ms)
            )
            first += len(seen)
        REQUESTS.labels(self._agent.name, "answered").inc(len(alive))
        return _merged(Answers([], []), *answers)

    async def _scores(self, calls: Sequence[Sequence[AnyEvent]]) -> Scores:
        """The scores of the events of all calls, one after the other."""
        events = [event for call in calls for event in call]
        if not events:
            return Scores(np.empty(0))
        memory: Memory = Plain(self._agent, self._shared)
        if self._agent.state is not None:
            memory = Throwaway(self._agent, self._agent.state, calls)
        return await self._scorer.score(events, memory)

    def _reply_of(self, call: Call, seen: Sequence[int], scores: Scores) -> Reply:
        """The answer to one call; `scores` are those of its rows `seen`."""
        agent, events = self._agent, call.request.events
        values: list[float | None] = [None] * len(events)
        details: list[Detail | None] = [None] * len(events)
        problems = {str(row): self._takes for row in range(len(events))}
        given = scores.details or [None] * len(seen)
        for place, (row, value, detail) in enumerate(zip(seen, scores.values.tolist(), given, strict=True)):
            if place in scores.problems:
                problems[str(row)] = scores.problems[place]
            elif agent.scores(events[row]):
                values[row], details[row] = value, detail
                del problems[str(row)]
        return Reply(
            asker=call.address.asker,
            call=call.address.call,
            agent=agent.name,
            version=self._version,
            unit=agent.unit,
            values=tuple(values),
            details=tuple(details) if any(details) else (),
            problems=problems,
        )

    def _published(self, call: Call, seen: Sequence[int], scores: Scores) -> list[Outgoing]:
        """The predictions of one call, each on the partition of its event's key; `scores` are those of its rows `seen`."""
        events = [call.request.events[row] for row in seen]
        outcome = self._words.word(Scored([call.record] * len(events), events, scores, []))
        keys = {event.event_id: event.key.encode() for event in events}
        beside = [
            (_beside(record, keys[said.event_id], self._settings.partitions), said)
            for record, said in outcome.predicted
        ]
        return outgoing(self._agent.name, replace(outcome, predicted=beside))

    async def _reply(self, answers: Answers) -> None:
        """Send the replies for as long as anybody waits: a reply partition that is away must hold up nobody else."""
        left_s = answers.until_ms / 1000 - self._clock()
        if not answers.replies or left_s <= 0:
            return
        try:
            async with asyncio.timeout(left_s):
                await self._producer.send(answers.replies)
        except (DeliveryFailed, TimeoutError):
            REQUESTS.labels(self._agent.name, "not delivered").inc(len(answers.replies))


def _part(scores: Scores, first: int, end: int) -> Scores:
    """The scores of some of the rows."""
    problems = {row - first: problem for row, problem in scores.problems.items() if first <= row < end}
    return Scores(scores.values[first:end], scores.details[first:end], problems)


def _beside(record: Record, key: bytes, partitions: int) -> Record:
    """The record as if it lay where its event's own would."""
    return record._replace(key=key, partition=partition_of(key, partitions))


def _address(record: Record) -> Address:
    address = Address.read(record.headers)
    if address.partition >= (REPLIES.partitions or 0):
        raise InvalidMessage("no partition of the topic of replies", "reply_partition")
    return address


def _outgoing(address: Address, reply: Reply) -> Outgoing:
    value = encode(reply)
    if len(value) + _FRAME_BYTES > MAX_REPLY_BYTES:
        error = f"its answer would take {len(value)} bytes, and {MAX_REPLY_BYTES} are taken: ask in parts"
        value = encode(Reply(reply.asker, reply.call, reply.agent, error=error))
    return Outgoing(REPLIES.name, None, value, (), address.partition)


def _portions(calls: Sequence[Call], most: int) -> Iterator[list[Call]]:
    """The calls in portions of at most so many rows (one call is never cut)."""
    portion: list[Call] = []
    rows = 0
    for call in calls:
        if portion and rows + len(call.request.events) > most:
            yield portion
            portion, rows = [], 0
        portion.append(call)
        rows += len(call.request.events)
    if portion:
        yield portion


def _merged(*several: Answers) -> Answers:
    return Answers(
        [reply for each in several for reply in each.replies],
        [record for each in several for record in each.kept],
        max(each.until_ms for each in several),
    )
