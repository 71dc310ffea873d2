"""An agent answers whoever asks, over the memory bus: both ends are the shipped ones."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType

import numpy as np
import pytest

from app.agent import Agent
from app.asking.asker import Asker, Limits, fresh_id
from app.asking.inbox import Hear
from app.asking.requests import MAX_ROWS, Address, Reply, Request
from app.bus import Outgoing
from app.codec import Decoder, encode
from app.errors import DeadlineExceeded, NotAnswered, NotServed, Overloaded, TooLarge
from app.modes.ask import Answering
from app.modes.scoring.scorer import Scorer
from app.predictions import Prediction
from app.settings import Settings
from app.testing import Events, MemoryBus

AGENT, TOPIC = "passengers", "requests.passengers"
LONG_S = 20.0
"""A deadline that a test never reaches."""


class Inbox:
    """One partition, read when the test says so."""

    def __init__(self, partition: int | None) -> None:
        self.partition = partition
        self.hear: Hear = lambda _: None

    async def run(self, hear: Hear) -> None:
        self.hear = hear
        await asyncio.Event().wait()


class Known:
    """Who is served, as the test says."""

    def __init__(self) -> None:
        self.away: set[str] = set()

    def serves(self, agent: str) -> bool:
        return agent not in self.away

    async def run(self) -> None:
        await asyncio.Event().wait()


class Calls:
    """Doubles, and the rows it was given at once."""

    def __init__(self, inner: object) -> None:
        self._inner, self.rows = inner, list[int]()

    def predict(self, features: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> object:
        self.rows.append(len(features))
        return self._inner.predict(features)  # type: ignore[attr-defined]  # a model


class Wire:
    """Two askers, one agent, and the bus between them; `carry` takes what lies on it where it belongs."""

    def __init__(self, agent: Agent, model: object, limits: Limits | None = None) -> None:
        self.bus, self.known, self.model, self.now = MemoryBus(), Known(), Calls(model), time.time
        self.inboxes = [Inbox(0), Inbox(1)]
        self.askers = [Asker(self.bus, inbox, self.known, 4, limits) for inbox in self.inboxes]
        self.scorer = Scorer(agent, self.model, 1.0)  # type: ignore[arg-type]  # counts, and is a model
        self.answering = Answering(
            agent, "7", self.scorer, self.bus, Settings.model_construct(partitions=4), clock=lambda: self.now()
        )
        self._carried: set[tuple[int, int]] = set()

    async def carry(self) -> None:
        """What was asked and has not been carried yet goes to the agent, and all its answers go to both askers."""
        await settled()
        asked = [each for each in self.bus.records(TOPIC) if (each.partition, each.offset) not in self._carried]
        self._carried |= {(each.partition, each.offset) for each in asked}
        await self.answering.answer(asked)
        self.deliver()

    def deliver(self) -> None:
        """Every reply so far, again, to both askers: what is not theirs, or is late, they pass over."""
        for inbox in self.inboxes:
            inbox.hear(self.bus.records("replies"))


async def settled() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def events() -> Events:
    return Events()


Make = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def wired(worker: ModuleType) -> AsyncIterator[Make]:
    """`wired(model=..., agent=..., limits=...)`."""
    made: list[Wire] = []

    async def make(model: object | None = None, agent: Agent | None = None, limits: Limits | None = None) -> Wire:
        made.append(Wire(agent or worker.passengers(AGENT), model or worker.Doubles(), limits))
        for asker in made[-1].askers:
            await asker.start()
        await settled()
        return made[-1]

    yield make
    for wire in made:
        for asker in wire.askers:
            await asker.close()
        wire.scorer.close()


async def test_every_asker_gets_the_answers_to_its_own_questions_in_order(wired: Make, events: Events) -> None:
    wire = await wired()
    asked = [
        asyncio.create_task(asker.ask(AGENT, [events.ride(passengers=n), events.ride(passengers=n + 1)], LONG_S))
        for n in range(1, 4)
        for asker in wire.askers
    ]
    await wire.carry()
    answers = await asyncio.gather(*asked)
    assert [answer.values for answer in answers] == [(2.0 * n, 2.0 * n + 2) for n in range(1, 4) for _ in wire.askers]
    assert {(answer.agent, answer.version, answer.unit) for answer in answers} == {(AGENT, "7", "persons")}
    assert wire.model.rows == [12], "six questions of two rows were one call of the model"
    assert [asker.pending for asker in wire.askers] == [0, 0]


async def test_a_word_on_an_event_comes_to_whoever_sends_the_event(wired: Make, events: Events) -> None:
    wire = await wired()
    ours, theirs = wire.askers
    with ours.expecting(AGENT, LONG_S) as expected, theirs.expecting(AGENT, LONG_S) as other:
        await settled()
        assert wire.bus.records(TOPIC) == []
        addresses = [Address.read(each.headers) for each in (expected, other)]
        assert [dict(each.headers)["asked"] for each in (expected, other)] == [AGENT.encode()] * 2
        replies = [
            Reply(address.asker, address.call, AGENT, "7", "persons", (float(n),))
            for n, address in enumerate(addresses)
        ]
        await wire.bus.send([Outgoing("replies", None, encode(reply), (), 0) for reply in replies])
        wire.deliver()
        assert (await expected.answer).values == (0.0,)
        assert (await other.answer).values == (1.0,)
    assert (ours.pending, theirs.pending) == (0, 0)


async def test_a_word_that_does_not_come_in_time_is_not_waited_for(wired: Make) -> None:
    wire = await wired()
    with wire.askers[0].expecting(AGENT, 0.01) as expected, pytest.raises(DeadlineExceeded):
        await expected.answer
    with wire.askers[0].expecting(AGENT, LONG_S):
        assert wire.askers[0].pending == 1  # whoever sends the event may fail, and leave
    assert wire.askers[0].pending == 0
    wire.known.away.add(AGENT)
    with pytest.raises(NotServed), wire.askers[0].expecting(AGENT, LONG_S):
        pytest.fail("nobody would answer")


async def test_a_row_that_cannot_be_scored_fails_alone(wired: Make, events: Events) -> None:
    wire = await wired()
    rides = [events.ride(passengers=2), events.ride(passengers=7), events.ride(passengers=8), events.upload()]
    asked = asyncio.create_task(wire.askers[0].ask(AGENT, rides, LONG_S))
    await wire.carry()
    answer = await asked
    assert answer.values == (4.0, None, None, None)
    assert answer.problems.keys() == {1, 2, 3}
    assert "NaN" in answer.problems[1]
    assert "eight is too many" in answer.problems[2]
    assert "RideRequested" in answer.problems[3]


async def test_what_nobody_waits_for_is_not_scored(wired: Make, events: Events) -> None:
    wire = await wired()
    with pytest.raises(DeadlineExceeded):
        await wire.askers[0].ask(AGENT, [events.ride()], 0.01)
    await wire.carry()
    assert wire.model.rows == []
    assert wire.bus.records("replies") == []


async def test_a_question_ends_at_its_deadline_when_its_answer_is_lost(wired: Make, events: Events) -> None:
    wire = await wired()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await wire.askers[0].ask(AGENT, [events.ride()], 0.2)
    assert 0.15 < time.monotonic() - began < LONG_S
    assert wire.askers[0].pending == 0


async def test_a_broker_that_is_away_ends_a_question_at_its_deadline(wired: Make, events: Events) -> None:
    wire = await wired()
    wire.bus.down = True
    with pytest.raises(DeadlineExceeded):
        await wire.askers[0].ask(AGENT, [events.ride()], 0.05)
    assert wire.askers[0].pending == 0


async def test_an_answer_that_cannot_be_delivered_ends_nothing_else(wired: Make, events: Events) -> None:
    wire = await wired()
    lost = asyncio.create_task(wire.askers[0].ask(AGENT, [events.ride()], 0.1))
    await settled()
    wire.bus.down = True
    await wire.carry()
    wire.bus.down = False
    heard = asyncio.create_task(wire.askers[0].ask(AGENT, [events.ride(passengers=3)], LONG_S))
    await wire.carry()
    assert (await heard).values == (6.0,)
    with pytest.raises(DeadlineExceeded):
        await lost


async def test_a_caller_that_leaves_leaves_nothing_behind(wired: Make, events: Events) -> None:
    wire = await wired()
    asked = asyncio.create_task(wire.askers[0].ask(AGENT, [events.ride()], LONG_S))
    await settled()
    assert wire.askers[0].pending == 1
    asked.cancel()
    await wire.carry()
    assert wire.askers[0].pending == 0


async def test_what_speaks_against_asking_is_said_at_once(wired: Make, events: Events) -> None:
    wire = await wired(limits=Limits(calls=2, rows=4))
    asker = wire.askers[0]
    with pytest.raises(TooLarge):
        await asker.ask(AGENT, [events.ride()] * (MAX_ROWS + 1), LONG_S)
    with pytest.raises(TooLarge):
        await asker.ask(AGENT, [events.upload(text="x" * 1_000_000)], LONG_S)
    wire.known.away.add("nobody")
    with pytest.raises(NotServed):
        await asker.ask("nobody", [events.ride()], LONG_S)
    asked = [asyncio.create_task(asker.ask(AGENT, [events.ride(passengers=1)], LONG_S)) for _ in range(2)]
    await settled()
    with pytest.raises(Overloaded):
        await asker.ask(AGENT, [events.ride()], LONG_S)
    await wire.carry()
    assert [answer.values for answer in await asyncio.gather(*asked)] == [(2.0,), (2.0,)]
    many = asyncio.create_task(asker.ask(AGENT, [events.ride()] * 3, LONG_S))
    await settled()
    with pytest.raises(Overloaded):
        await asker.ask(AGENT, [events.ride()] * 2, LONG_S)
    many.cancel()


async def test_nobody_is_served_before_an_answer_could_come_in(wired: Make, events: Events) -> None:
    wire = await wired()
    wire.inboxes[0].partition = None
    assert not wire.askers[0].ready
    with pytest.raises(NotServed):
        await wire.askers[0].ask(AGENT, [events.ride()], LONG_S)


async def test_whoever_waits_is_told_that_the_process_ends(wired: Make, events: Events) -> None:
    wire = await wired()
    asked = asyncio.create_task(wire.askers[0].ask(AGENT, [events.ride()], LONG_S))
    await settled()
    await wire.askers[0].close()
    with pytest.raises(NotServed):
        await asked


async def test_a_stateful_agent_answers_each_question_from_its_own_events(
    wired: Make, events: Events, worker: ModuleType
) -> None:
    wire = await wired(model=worker.Same(), agent=worker.counting(AGENT))
    rides = [events.ride(user_id="u"), events.ride(user_id="u")]
    asked = [asyncio.create_task(wire.askers[0].ask(AGENT, rides, LONG_S)) for _ in range(3)]
    await wire.carry()
    assert [answer.values for answer in await asyncio.gather(*asked)] == [(1.0, 2.0)] * 3
    assert wire.model.rows == [6]


async def test_a_bad_row_leaves_the_state_of_its_own_question_whole(
    wired: Make, events: Events, worker: ModuleType
) -> None:
    wire = await wired(model=worker.Same(), agent=worker.counting(AGENT))
    good, bad = [events.ride(user_id="u")] * 1, events.ride(user_id="u", passengers=8)
    asked = [
        asyncio.create_task(wire.askers[0].ask(AGENT, rides, LONG_S)) for rides in ([*good, bad, *good], [*good, *good])
    ]
    await wire.carry()
    first, second = await asyncio.gather(*asked)
    assert (first.values, list(first.problems)) == ((1.0, None, 2.0), [1])
    assert second.values == (1.0, 2.0)


async def test_predictions_are_published_when_asked_and_marked(wired: Make, events: Events) -> None:
    wire = await wired()
    rides = [events.ride(event_id=fresh_id(), passengers=n) for n in (2, 7)]
    asked = asyncio.create_task(wire.askers[0].ask(AGENT, rides, LONG_S, publish=True))
    await wire.carry()
    answer = await asked
    (record,) = wire.bus.records("predictions")
    said = Decoder[Prediction](Prediction).decode(record.value)
    assert (said.event_id, said.value, said.via, said.topic) == (rides[0].event_id, answer.values[0], "ask", TOPIC)
    assert record.key == rides[0].key.encode()
    assert wire.bus.records("dead-letters") == [], "whoever asked was told of the other row"
    with pytest.raises(ValueError, match="fresh_id"):
        await wire.askers[0].ask(AGENT, [events.ride()], LONG_S, publish=True)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"{", "truncated"),
        (b'{"type": "millrace.request.v1", "events": []}', "events"),
        (b'{"type": "millrace.request.v1", "events": [{"type": "millrace.ride.requested.v1"}]}', "event_id"),
        (encode(Request(tuple(Events().ride() for _ in range(MAX_ROWS + 1)))), "events"),
    ],
)
async def test_a_question_that_cannot_be_read_is_refused(wired: Make, value: bytes, problem: str) -> None:
    wire = await wired()
    address = Address(2**45, 3, "somebody", "1")
    await wire.bus.send([Outgoing(TOPIC, None, value, address.headers())])
    await wire.carry()
    (record,) = wire.bus.records("replies", 3)
    reply = Decoder[Reply](Reply).decode(record.value)
    assert (reply.asker, reply.call, reply.passing) == ("somebody", "1", False)
    assert problem in reply.error


@pytest.mark.parametrize("field", ["deadline_ms", "reply_partition", "asker", "call"])
@pytest.mark.parametrize("value", [None, b"", b"\xff", b"9" * 65])
async def test_a_question_that_says_not_where_to_answer_is_a_dead_letter(
    wired: Make, events: Events, field: str, value: bytes | None
) -> None:
    wire = await wired()
    named = dict(Address(2**45, 3, "somebody", "1").headers())
    headers = {name: text for name, text in {**named, field: value}.items() if text is not None}
    body = encode(Request((events.ride(),)))
    await wire.bus.send([Outgoing(TOPIC, None, body, tuple(headers.items()))])
    await wire.carry()
    (dead,) = wire.bus.records("dead-letters")
    assert dead.value == body
    assert field in dict(dead.headers)["dlq.error"].decode()
    assert wire.bus.records("replies") == []


async def test_a_reply_of_the_wrong_length_is_no_answer(wired: Make, events: Events) -> None:
    wire = await wired()
    asked = asyncio.create_task(wire.askers[0].ask(AGENT, [events.ride()], LONG_S))
    await settled()
    address = Address.read(wire.bus.records(TOPIC)[0].headers)
    reply = Reply(address.asker, address.call, AGENT, values=(1.0, 2.0))
    await wire.bus.send([Outgoing("replies", None, encode(reply), (), 0), Outgoing("replies", None, b"rubbish", (), 0)])
    wire.deliver()
    with pytest.raises(NotAnswered):
        await asked


@pytest.mark.parametrize("within_s", [0.0, -1.0, 31.0, float("nan")])
async def test_a_deadline_has_bounds(wired: Make, events: Events, within_s: float) -> None:
    wire = await wired()
    with pytest.raises(ValueError, match="within_s"):
        await wire.askers[0].ask(AGENT, [events.ride()], within_s)
