"""Request-reply: an agent answers whoever asks and waits, from a topic and a consumer group of its own.

Beside `app.modes.stream`, on the same model and the same scorer, so with the same bits; `app.asking.asker` is the other end.
Requests that wait together reach the model as one batch. What nobody waits for any more is dropped, and counted. A
request never moves an agent's state: it is answered as if its own events were all that ever happened.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from app.agent import Agent, Scores
from app.asking.requests import MAX_ROWS, MAX_WITHIN_S, Address, Request, request_group
from app.bus import Producer, deliver
from app.codec import Decoder, Record
from app.errors import DeliveryFailed, InvalidMessage
from app.events import AnyEvent
from app.modes.consuming.group import Group
from app.modes.consuming.lifecycle import together
from app.modes.consuming.progress import RecordBatch
from app.modes.consuming.watchdog import watch
from app.modes.scoring.answers import Answers, Call, Wording, address_of, merged, part
from app.modes.scoring.dead_letters import cause_of, dead_letter
from app.modes.scoring.scorer import HEALS, Memory, Plain, Scorer
from app.modes.scoring.throwaway import Throwaway
from app.settings import Settings
from app.telemetry import REQUESTS, REQUESTS_AT_ONCE
from app.topics import request_topic


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
        self._agent, self._scorer, self._producer = agent, scorer, producer
        self._settings, self._clock = settings, clock
        self._decoder: Decoder[Request] = Decoder(Request)
        self._wording = Wording(agent, version, scorer, settings.partitions)
        shared = agent.shared(settings.database_url, remember=False) if agent.shared is not None else None
        self._plain = Plain(agent, shared)
        self._waiting: list[Call] = []
        self._turn = asyncio.Lock()
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Answer until cancelled, or raise what ended it; in a consumer group, so that the agent's workers share the work."""
        name = self._agent.name
        group = Group(request_group(name), [request_topic(name)], self._handle, self._settings)
        try:
            await together(group.run(), watch(group, self._settings.stuck_after))
        finally:
            self._plain.close()

    async def _handle(self, batch: RecordBatch) -> None:
        await self.answer(batch.records)

    async def answer(self, records: Sequence[Record]) -> None:
        """Answer these requests, with all that came on other partitions meanwhile, and deliver the answers."""
        calls, answers = self._read(records)
        self._waiting += calls
        async with self._turn:
            if self._failure is not None:
                raise self._failure  # of whoever had taken these requests: they must not be committed either
            taken, self._waiting = self._waiting, []  # whoever has the turn takes what the others brought
            try:
                for some in _portions(taken, self._agent.max_batch):
                    answers = merged(answers, await self._answer(some))
                if answers.kept:
                    await deliver(self._producer, answers.kept)
            except Exception as error:
                self._failure = error
                raise
        await self._reply(answers)

    def _read(self, records: Sequence[Record]) -> tuple[list[Call], Answers]:
        """The calls in these records; and the answers to those that cannot be read."""
        now_ms, answers = self._clock() * 1000, Answers([], [])
        addressed: list[tuple[Address, Record]] = []
        for record in records:
            try:
                address = address_of(record)
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
                REQUESTS.labels(self._agent.name, "refused").inc()
                answers = merged(answers, self._wording.refusal(address, problem))
            else:
                calls.append(Call(address, record, request))
        return calls, answers

    @property
    def _group_name(self) -> str:
        return request_group(self._agent.name).removeprefix("millrace.")

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
        except HEALS as error:
            REQUESTS.labels(self._agent.name, "unanswerable").inc(len(alive))
            refusals = [self._wording.refusal(call.address, str(error), passing=True) for call in alive]
            return merged(Answers([], []), *refusals)
        answers, first = [], 0
        for call, seen in zip(alive, rows, strict=True):
            answers.append(self._wording.answers(call, seen, part(scores, first, first + len(seen))))
            first += len(seen)
        REQUESTS.labels(self._agent.name, "answered").inc(len(alive))
        return merged(Answers([], []), *answers)

    async def _scores(self, calls: Sequence[Sequence[AnyEvent]]) -> Scores:
        """The scores of the events of all calls, one after the other."""
        events = [event for call in calls for event in call]
        if not events:
            return Scores(np.empty(0))
        state = self._agent.state
        memory: Memory = self._plain if state is None else Throwaway(self._agent, state, calls)
        return await self._scorer.score(events, memory)

    async def _reply(self, answers: Answers) -> None:
        """Send the replies for as long as anybody waits: a reply partition that is away must hold up nobody else."""
        left_s = min(answers.until_ms / 1000 - self._clock(), MAX_WITHIN_S)  # whatever deadline a header names
        if not answers.replies or left_s <= 0:
            return
        try:
            async with asyncio.timeout(left_s):
                await self._producer.send(answers.replies)
        except (DeliveryFailed, TimeoutError):
            REQUESTS.labels(self._agent.name, "not delivered").inc(len(answers.replies))


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
