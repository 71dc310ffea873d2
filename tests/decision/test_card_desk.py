"""The card desk with Kafka in memory, a store of its own and a Redis that can be taken away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from app import codec
from app.bus import Outgoing
from app.costs import Costs
from app.decisions import Decision, DecisionBatch
from app.errors import DeliveryFailed, MillraceError, ServiceUnavailable
from app.events import FraudReported
from app.live import LiveUpdate
from app.modes.consuming.progress import RecordBatch
from app.predictions import Prediction, PredictionBatch
from app.sql.card_journal import CardJournal
from app.sql.ledger import SubjectKey
from app.store import Store
from app.testing import START, MemoryBus
from app.topics import ALERTS, CARD_DECISIONS, CARD_PREDICTIONS, CHARGEBACKS, DEAD_LETTERS, DECISIONS
from decision.card_books import CardBooks
from decision.card_desk import CardDesk
from decision.clerk import Clerk
from decision.push import Announcer
from decision.quota import Quota

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
decoder: codec.Decoder[DecisionBatch] = codec.Decoder(DecisionBatch)


class Redis:
    """A live channel that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.told: list[LiveUpdate] = []

    async def publish(self, updates: Sequence[LiveUpdate]) -> None:
        if self.away:
            raise ServiceUnavailable("redis", "away")
        self.told += updates


class Bank:
    """A desk, and what is around it."""

    def __init__(self, url: str, bus: MemoryBus, keep_allowed: int = 0) -> None:
        self.journal, self.bus, self.redis = CardJournal.open(url), bus, Redis()
        self.store = Store(self.journal.engine)
        self.books = CardBooks(Clerk(self.journal, pause_s=0.001))
        self.announcer = Announcer(self.redis, self.books, return_s=0.01)
        self.desk = CardDesk(self.books, bus, self.announcer, Costs(25, 5, 50), Quota(keep_allowed, 0.0))
        self._log: list[Outgoing] = []

    async def open(self, end: int = 1_000_000) -> "Bank":
        await self.books.open({1: end})
        return self

    def decided(self) -> list[Decision]:
        """Those that are records of their own."""
        return [msgspec.json.decode(each.value or b"", type=Decision) for each in self.bus.records(DECISIONS.name)]

    def all(self) -> list[tuple[str, str, str]]:
        """User, event and action of all of them."""
        made = [decoder.decode(each.value) for each in self.bus.records(CARD_DECISIONS.name)]
        return [row for each in made for row in zip(each.user_id, each.event_id, each.action, strict=True)]

    def tallies(self) -> dict[str, tuple[int, int]]:
        return {each.action: (each.decided, each.reported) for each in self.store.charge_tallies()}


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    made = await Bank(f"sqlite:///{tmp_path / 'store.db'}", MemoryBus()).open()
    yield made
    made.journal.close()


def said(name: str, value: float = 0.001, user: str = "u") -> Prediction:
    return Prediction(
        event_id=f"e{name}", subject_id=f"t{name}", user_id=user, kind="transaction", model="fraud", version="1",
        value=value, unit="probability", topic="transactions.pos", partition=1, offset=7, event_at=START, at=START,
        latency_ms=12.5, detail={"amount_usd": 100.0, "terminal_id": "till-1", "source": "pos"},
    )  # fmt: skip


def batch(
    *messages: Sequence[Prediction] | FraudReported | bytes, offset: int = 0, topic: str = CARD_PREDICTIONS.name
) -> RecordBatch:
    """A record for each message; predictions in columns."""
    values = [_value(each) for each in messages]
    return RecordBatch(
        topic,
        1,
        [codec.Record(topic, 1, offset + row, 0, None, each) for row, each in enumerate(values)],
        offset + len(values),
    )


def _value(message: Sequence[Prediction] | FraudReported | bytes) -> bytes:
    if isinstance(message, bytes):
        return message
    if isinstance(message, FraudReported):
        return codec.encode(message)
    return codec.encode(PredictionBatch.of(message, ["card"] * len(message), {0: TRACE}))


def reported(name: str) -> FraudReported:
    return FraudReported(
        event_id=f"f{name}", user_id="u", at=START + timedelta(days=7), transaction_id=f"t{name}", card_id="card",
        terminal_id="till-1", source="pos", amount_usd=100.0, made_at=START,
    )  # fmt: skip


async def test_every_decision_is_in_columns_and_what_is_held_a_record_of_its_own(bank: Bank) -> None:
    await bank.desk.decide(batch([said("1"), said("2", 0.95)], [said("3", 0.3), said("4")], offset=7))
    assert bank.all() == [("u", "e1", "allow"), ("u", "e2", "block"), ("u", "e3", "review"), ("u", "e4", "allow")]
    first, second = (decoder.decode(each.value) for each in bank.bus.records(CARD_DECISIONS.name))
    assert (first.offset, second.offset, second.partition) == (7, 8, 1)
    assert [(each.decision_id, each.action) for each in bank.decided()] == [("e2.0", "block"), ("e3.0", "review")]
    alerts, decided = bank.bus.records(ALERTS.name), bank.bus.records(DECISIONS.name)
    assert [codec.header(each.headers, "ce_id") for each in alerts] == ["e2.0", "e3.0"]
    assert [each.value for each in alerts] == [each.value for each in decided]
    assert {(each.key, each.partition) for each in (*alerts, *decided)} == {(b"card", 1)}
    traced = codec.header(decided[1].headers, "traceparent")
    assert traced is not None
    assert traced[:36] == TRACE[:36]
    assert codec.header(decided[0].headers, "traceparent") is None, "only the first row of each has one"
    assert [update.message for update in bank.redis.told] == bank.decided()
    assert bank.store.decision(SubjectKey("u", "t2")) == bank.decided()[0]
    assert bank.store.decision(SubjectKey("u", "t1")) is None
    await bank.books.settle()
    assert bank.store.actions() == {"allow": 2, "block": 1, "review": 1}
    assert bank.tallies() == {"allow": (2, 0), "block": (1, 0), "review": (1, 0)}


async def test_the_receipt_of_what_is_held(bank: Bank) -> None:
    await bank.desk.decide(batch([said("0")], [said("1"), said("2", 0.95)], offset=40))
    await bank.books.settle()
    receipt = bank.store.receipt(SubjectKey("u", "t2"))
    assert receipt is not None
    (opening,), (answer,), (decided,) = receipt["openings"], receipt["predictions"], receipt["decisions"]  # type: ignore[misc]  # lists
    assert opening["position"] == {"topic": "transactions.pos", "partition": 1, "offset": 7}
    assert answer["position"] == {"topic": CARD_PREDICTIONS.name, "partition": 1, "offset": 41}
    assert decided["position"] == {"topic": DECISIONS.name, "partition": 1, "offset": 0}
    assert decided["published"]


async def test_at_ordinary_rates_every_one_is_a_record_and_can_be_asked_for(tmp_path: Path) -> None:
    bank = await Bank(f"sqlite:///{tmp_path / 'store.db'}", MemoryBus(), keep_allowed=2).open()
    await bank.desk.decide(batch([said("1"), said("2")], [said("3")]))
    assert [each.event_id for each in bank.decided()] == ["e1", "e2", "e3"]
    await bank.desk.decide(batch([said(f"x{i}") for i in range(500)], offset=3))
    await bank.books.settle()
    assert len(bank.decided()) == 3, "too many a second to be kept"
    assert len(bank.all()) == 503
    assert bank.store.decision(SubjectKey("u", "t1")) == bank.decided()[0]
    assert bank.store.decision(SubjectKey("u", "tx1")) is None
    assert bank.tallies() == {"allow": (503, 0)}
    assert bank.store.actions() == {"allow": 503}
    assert bank.journal.unpublished([1], 10) == [], "nobody is told of what is allowed"
    bank.journal.close()


async def test_a_second_delivery_is_the_same_and_is_not_counted_again(bank: Bank, tmp_path: Path) -> None:
    """The worker was killed after it had counted, before Kafka knew."""
    read = batch([said("1"), said("2", 0.95), said("3")])
    await bank.desk.decide(read)
    await bank.books.settle()
    again = await Bank(f"sqlite:///{tmp_path / 'store.db'}", bank.bus).open()
    await again.desk.decide(batch([said("1"), said("2", 0.95), said("3")], [said("4")]))
    await again.books.settle()
    for topic in (DECISIONS, CARD_DECISIONS):
        first, second, *_ = bank.bus.records(topic.name)
        assert first.value == second.value
    assert again.tallies() == {"allow": (3, 0), "block": (1, 0)}
    assert again.store.actions() == {"allow": 3, "block": 1}
    assert [update.again for update in again.redis.told] == [True]
    again.journal.close()


@pytest.mark.parametrize(("before", "after"), [(9, 0), (0, 9), (9, 9), (0, 0)])
@pytest.mark.parametrize("settled", [True, False])
async def test_kept_or_not_it_counts_once(tmp_path: Path, before: int, after: int, settled: bool) -> None:
    """After a kill more comes at once, or less: what was kept may be kept no more, and the other way round."""
    url, bus = f"sqlite:///{tmp_path / 'store.db'}", MemoryBus()
    killed = await Bank(url, bus, keep_allowed=before).open()
    await killed.desk.decide(batch([said("0")], [said("1"), said("2", 0.95)]))
    if settled:
        await killed.books.settle()
    again = await Bank(url, bus, keep_allowed=after).open()
    await again.desk.decide(batch([said("0")], [said("1"), said("2", 0.95)], [said("3")]))
    await again.books.settle()
    assert again.tallies() == {"allow": (3, 0), "block": (1, 0)}
    assert again.store.actions() == {"allow": 3, "block": 1}
    for each in (killed, again):
        each.journal.close()


@pytest.mark.parametrize("keep_allowed", [0, 9])
async def test_what_a_worker_taken_for_dead_has_counted_counts_once(tmp_path: Path, keep_allowed: int) -> None:
    """It was held up, its successor has read what it had in hand, and now it goes on."""
    url, bus = f"sqlite:///{tmp_path / 'store.db'}", MemoryBus()
    zombie, successor = await Bank(url, bus, keep_allowed).open(), await Bank(url, bus).open()
    read = batch([said("0")], [said("1"), said("2", 0.95)])
    if not keep_allowed:
        await zombie.desk.decide(read)
    await successor.desk.decide(read)
    await successor.books.settle()
    await successor.desk.decide(batch([said("3")], offset=2))
    await successor.books.settle()
    with pytest.raises(MillraceError, match="begin anew"):
        await (zombie.desk.decide(read) if keep_allowed else zombie.books.settle())
    heir = await Bank(url, bus).open()
    await heir.desk.decide(batch([said("3")], [said("4")], offset=2))
    await heir.books.settle()
    assert heir.tallies() == {"allow": (4, 0), "block": (1, 0)}
    assert heir.store.actions() == {"allow": 4, "block": 1}
    for each in (zombie, successor, heir):
        each.journal.close()


async def test_killed_before_it_had_counted(bank: Bank, tmp_path: Path) -> None:
    await bank.desk.decide(batch([said("1"), said("2", 0.95)]))
    again = await Bank(f"sqlite:///{tmp_path / 'store.db'}", bank.bus).open()
    await again.desk.decide(batch([said("1"), said("2", 0.95)]))
    await again.books.settle()
    assert again.tallies() == {"allow": (1, 0), "block": (1, 0)}
    again.journal.close()


async def test_what_stands_in_the_store_is_what_is_told(bank: Bank, tmp_path: Path) -> None:
    """Another version of the model answers after a restart: the first answer stands."""
    await bank.desk.decide(batch([said("2", 0.95)]))
    again = await Bank(f"sqlite:///{tmp_path / 'store.db'}", bank.bus).open()
    await again.desk.decide(batch([said("2", 0.3)]))
    first, second = bank.bus.records(DECISIONS.name)
    assert first.value == second.value
    assert [action for _, _, action in bank.all()] == ["block", "block"]
    assert again.tallies() == {"block": (1, 0)}
    again.journal.close()


async def test_after_a_write_that_failed_nothing_is_settled_any_more(bank: Bank, tmp_path: Path) -> None:
    """What it held is lost with it, so whoever settles before a commit must be told; the successor counts it."""
    read, reports = batch([said("1"), said("2")]), batch(reported("1"), topic=CHARGEBACKS.name)
    await bank.desk.decide(read)
    await bank.desk.report(reports)
    with bank.journal.transaction() as connection:
        connection.execute(text("ALTER TABLE charge_counts RENAME TO elsewhere"))
    with pytest.raises(ServiceUnavailable):
        await bank.desk.decide(batch([said("3", 0.95)], offset=1))
    with bank.journal.transaction() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO charge_counts"))
    with pytest.raises(ServiceUnavailable):
        await bank.books.settle()

    successor = await Bank(f"sqlite:///{tmp_path / 'store.db'}", bank.bus).open()
    await successor.desk.decide(read)
    await successor.desk.report(reports)
    await successor.books.settle()
    assert successor.tallies() == {"allow": (2, 1)}
    successor.journal.close()


async def test_after_a_write_of_whose_end_nothing_was_heard_nothing_is_settled_any_more(bank: Bank) -> None:
    await bank.desk.decide(batch([said("1"), said("2")]))
    with bank.journal.transaction() as other:
        other.execute(text("UPDATE actions SET n = n"))  # takes the file's one write lock
        settling = asyncio.create_task(bank.books.settle())
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
    with pytest.raises(ServiceUnavailable):
        await bank.books.settle()


async def test_what_the_agent_says_again_is_decided_once(bank: Bank) -> None:
    await bank.desk.decide(batch([said("1"), said("2", 0.95), said("1")], [said("2", 0.95)]))
    await bank.desk.decide(batch([said("2", 0.95), said("3"), said("1"), said("1", user="another")], offset=3))
    await bank.books.settle()
    assert [(user, event) for user, event, _ in bank.all()] == [
        ("u", "e1"), ("u", "e2"), ("u", "e3"), ("another", "e1"),
    ]  # fmt: skip
    assert bank.tallies() == {"allow": (3, 0), "block": (1, 0)}


async def test_a_new_log_is_counted_from_its_beginning(bank: Bank, tmp_path: Path) -> None:
    """The broker was started afresh, the store was kept."""
    await bank.desk.decide(batch(*([said(f"{i}")] for i in range(9))))
    await bank.books.settle()
    fresh = await Bank(f"sqlite:///{tmp_path / 'store.db'}", MemoryBus()).open(end=2)
    await fresh.desk.decide(batch([said("a")], [said("b")]))
    await fresh.books.settle()
    assert fresh.tallies() == {"allow": (11, 0)}
    fresh.journal.close()


async def test_poison_is_a_dead_letter_and_the_rest_goes_on(bank: Bank) -> None:
    rows = codec.encode(PredictionBatch.of([said("2"), said("3"), said("4")], ["card"] * 3))
    await bank.desk.decide(
        batch(
            b"{",
            [said("1")],
            rows.replace(b"[0.001,", b"[1e999,"),
            rows.replace(b"[0.001,", b"["),
            rows.replace(b'"e3"', b'"e 3"'),
        )
    )
    assert [event for _, event, _ in bank.all()] == ["e1", "e2", "e4"]
    letters = {codec.header(each.headers, "dlq.offset"): each for each in bank.bus.records(DEAD_LETTERS.name)}
    assert letters.keys() == {"0", "2", "3", "4"}
    assert "row 1" in (codec.header(letters["4"].headers, "dlq.error") or "")
    assert {codec.header(each.headers, "dlq.agent") for each in letters.values()} == {"decision.cards"}
    await bank.desk.report(batch(b"?", reported("1"), topic=CHARGEBACKS.name))
    assert len(bank.bus.records(DEAD_LETTERS.name)) == 5
    await bank.books.settle()
    assert bank.tallies() == {"allow": (3, 1)}


async def test_a_row_that_is_mended_and_sent_back_is_decided(bank: Bank) -> None:
    rows = codec.encode(PredictionBatch.of([said("2"), said("3")], ["card"] * 2))
    await bank.desk.decide(batch(rows.replace(b'"terminal_id":["till-1"', b'"terminal_id":["till 1"')))
    (letter,) = bank.bus.records(DEAD_LETTERS.name)
    await bank.desk.decide(batch((letter.value or b"").replace(b"till 1", b"till-1"), offset=1))
    assert [event for _, event, _ in bank.all()] == ["e3", "e2"]


async def test_a_chargeback_after_before_twice_and_of_nothing_known(bank: Bank) -> None:
    await bank.desk.report(batch(reported("2"), topic=CHARGEBACKS.name))
    await bank.desk.decide(batch([said("1", 0.95), said("2", 0.95), said("3"), said("4", 0.95)]))
    await bank.desk.report(
        batch(reported("1"), reported("3"), reported("unknown"), reported("1"), topic=CHARGEBACKS.name)
    )
    await bank.desk.report(batch(reported("3"), topic=CHARGEBACKS.name))
    await bank.books.settle()
    assert bank.tallies() == {"allow": (1, 2), "block": (3, 2)}


async def test_with_redis_away_the_topic_goes_on_and_the_holder_hears_later(bank: Bank) -> None:
    bank.redis.away = True
    await bank.desk.decide(batch([said("1", 0.95)]))
    assert len(bank.decided()) == 1
    assert len(bank.bus.records(ALERTS.name)) == 1
    bank.redis.away = False
    running = asyncio.create_task(bank.announcer.run())
    await eventually(lambda: bool(bank.redis.told) and not bank.announcer.behind)
    running.cancel()
    assert bank.redis.told[0].message == bank.decided()[0]
    assert bank.journal.unpublished([1], 10) == []


async def test_what_kafka_does_not_take_is_not_counted(bank: Bank) -> None:
    bank.bus.down = True
    deciding = asyncio.create_task(bank.desk.decide(batch([said("1")])))
    await asyncio.sleep(0)
    deciding.cancel()
    with pytest.raises((asyncio.CancelledError, DeliveryFailed)):
        await deciding
    await bank.books.settle()
    assert bank.tallies() == {}


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
