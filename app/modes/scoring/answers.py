"""What is answered to requests, in words: replies, refusals, and predictions where they are to be published. Pure.

Between `app.modes.ask`, which has the scores, and the topics `replies` and `predictions`; and for `app.modes.stream`, the
answers to those who sent an event and want a word on it at once.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from app.agent import Agent, Scores
from app.asking.requests import ASKED, MAX_REPLY_BYTES, Address, Reply, Request
from app.bus import Outgoing, partition_of
from app.codec import Decoder, Record, encode, header
from app.errors import InvalidMessage
from app.events import AnyEvent
from app.modes.scoring.process import Outcome, Processor, Scored, outgoing
from app.modes.scoring.scorer import Scorer
from app.predictions import Detail
from app.topics import REPLIES

_FRAME_BYTES = 1024  # what Kafka adds to a reply


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


def merged(*several: Answers) -> Answers:
    """All of them as one."""
    return Answers(
        [reply for each in several for reply in each.replies],
        [record for each in several for record in each.kept],
        max(each.until_ms for each in several),
    )


def part(scores: Scores, first: int, end: int) -> Scores:
    """The scores of some of the rows."""
    problems = {row - first: problem for row, problem in scores.problems.items() if first <= row < end}
    return Scores(scores.values[first:end], scores.details[first:end], problems)


def _beside(record: Record, key: bytes, partitions: int) -> Record:
    """The record as if it lay where its event's own would."""
    return record._replace(key=key, partition=partition_of(key, partitions))


class Wording:
    """How one agent answers.

    Args:
        partitions: of the topic of predictions.
    """

    def __init__(self, agent: Agent, version: str, scorer: Scorer, partitions: int) -> None:
        self._agent, self._version, self._partitions = agent, version, partitions
        self._takes = f"{agent.name} answers {' or '.join(event.__name__ for event in agent.consumes)}"
        self._processor = Processor(agent, version, Decoder(AnyEvent), scorer, via="ask")

    def refusal(self, address: Address, problem: str, *, passing: bool = False) -> Answers:
        """There is no answer; `passing` says that there may be one later."""
        reply = Reply(address.asker, address.call, self._agent.name, error=problem, passing=passing)
        return Answers([_outgoing(address, reply)], [], address.deadline_ms)

    def answers(self, call: Call, seen: Sequence[int], scores: Scores) -> Answers:
        """The answer to one call, and what it asks to be published; `scores` are those of its rows `seen`."""
        kept = self._published(call, seen, scores) if call.request.publish else []
        return Answers([_outgoing(call.address, self._reply(call, seen, scores))], kept, call.address.deadline_ms)

    def _reply(self, call: Call, seen: Sequence[int], scores: Scores) -> Reply:
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
        outcome = self._processor.word(Scored([call.record] * len(events), events, scores, []))
        keys = {event.event_id: event.key.encode() for event in events}
        beside = [(_beside(record, keys[said.event_id], self._partitions), said) for record, said in outcome.predicted]
        return outgoing(self._agent.name, replace(outcome, predicted=beside))


def to_senders(agent: str, outcome: Outcome) -> list[Outgoing]:
    """What became of the events whose records say that this agent's word is wanted; nothing, once it comes too late."""
    replies, now_ms = list[Outgoing](), outcome.at.timestamp() * 1000
    for record, said in outcome.predicted:
        if address := _wanted(record, agent, now_ms):
            details = () if said.detail is None else (said.detail,)
            values = Reply(address.asker, address.call, agent, said.version, said.unit, (said.value,), details)
            replies.append(_outgoing(address, values))
    for failed in outcome.failed:
        if address := _wanted(failed.record, agent, now_ms):
            replies.append(_outgoing(address, Reply(address.asker, address.call, agent, error=failed.error)))
    return replies


def _wanted(record: Record, agent: str, now_ms: float) -> Address | None:
    """Where this agent's word on the event is still wanted. An address that cannot be read is nobody's."""
    if header(record.headers, ASKED) != agent:
        return None
    try:
        address = address_of(record)
    except InvalidMessage:
        return None
    return address if address.deadline_ms > now_ms else None


def address_of(record: Record) -> Address:
    """Raises `InvalidMessage`."""
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
