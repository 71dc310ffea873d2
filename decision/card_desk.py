"""What happens to a batch of the card decision worker: decide, write down what is held, deliver, tell.

`decision.card_worker` feeds it, one batch of a partition at a time; knows neither Faust nor Kafka's groups.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from time import monotonic

from app import codec
from app.bus import Delivered, Outgoing, Producer, deliver
from app.codec import Failure, Headers, Record
from app.costs import Costs
from app.decisions import Decision
from app.events import FraudReported
from app.live import LiveUpdate
from app.modes.dead_letters import cause_of, dead_letter
from app.modes.progress import RecordBatch
from app.sql.card_journal import Held
from app.sql.ledger import Answer, Case, DecisionKey, Entry, Made, Mark, Position
from app.telemetry import DECISIONS as DECIDED
from app.telemetry import RECORDS
from app.topics import ALERTS, CHARGEBACKS, DECISIONS
from decision import cards
from decision.card_books import CardBooks
from decision.cards import Asked, CardPrediction, Verdicts
from decision.desk import wall_clock
from decision.push import Announcer
from decision.quota import Quota
from decision.recent import Recent

AGENT = "decision.cards"

_SHARED: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_type", str(Decision.__struct_config__.tag).encode()),
    ("ce_source", f"{codec.SOURCE}/decision".encode()),
    ("content-type", b"application/json"),
)
"""`app.codec.context` but for the time, which is optional and in the value: headers are a quarter of what a record costs."""


@dataclass
class CardDesk:
    """Args: `quota`: how many allowed transactions a second are kept in the store."""

    books: CardBooks
    producer: Producer
    announcer: Announcer
    costs: Costs
    quota: Quota
    _recent: defaultdict[int, Recent] = field(default_factory=lambda: defaultdict(Recent))
    _reports: codec.Decoder[FraudReported] = field(default_factory=lambda: codec.Decoder(CHARGEBACKS.messages))

    async def decide(self, batch: RecordBatch) -> None:
        """Predictions: when it returns, every decision is delivered, and those that hold are written down and told."""
        asked, failures = cards.read(batch.records)
        keys = [f"{said.user_id}/{said.event_id}" for said in asked.predictions]
        if len(set(keys)) < len(keys) or self._recent[batch.partition].any_of(keys):
            asked, keys = self._without_repeats(batch.partition, asked)
        verdicts = cards.judge(asked.predictions, self.costs)
        kept = self._kept(verdicts)
        standing = await self._write_down(asked, verdicts, kept) if kept else {}
        for row in kept:
            stands = standing.get(DecisionKey.of(verdicts.decisions[row]))
            verdicts.decisions[row] = stands or verdicts.decisions[row]
        places = await deliver(self.producer, [*_outgoing(asked, verdicts), *_dead(failures)])
        await self._tell(verdicts, kept, places, standing)
        self._recent[batch.partition].add(keys)
        self._count(batch, asked, verdicts, set(kept), len(failures))

    async def report(self, batch: RecordBatch) -> None:
        """Chargebacks: when it returns they are counted."""
        reports, failures = self._reports.decode_batch(batch.records)
        good = [report for report in reports if report is not None]
        if good:
            await self.books.report(good, wall_clock())
        await deliver(self.producer, _dead(failures))
        RECORDS.labels(AGENT, "reported").inc(len(good))
        RECORDS.labels(AGENT, "failed").inc(len(failures))

    def _without_repeats(self, partition: int, asked: Asked) -> tuple[Asked, list[str]]:
        """What has not been decided before: what an agent says again after a kill has been."""
        recent, seen = self._recent[partition], dict[str, None]()

        def first(said: CardPrediction, _: Record) -> bool:
            key = f"{said.user_id}/{said.event_id}"
            known = key in recent or key in seen
            seen[key] = None
            return not known

        kept = asked.where(first)
        return kept, list(seen)

    def _kept(self, verdicts: Verdicts) -> list[int]:
        """The rows the store keeps: those that are held, and the others as long as they are few."""
        n = len(verdicts.decisions)
        return list(range(n)) if self.quota.take(n - len(verdicts.held), monotonic()) else verdicts.held

    async def _write_down(
        self, asked: Asked, verdicts: Verdicts, kept: Sequence[int]
    ) -> Mapping[DecisionKey, Decision]:
        """Returns the decisions that stood there already."""
        entry = Entry(wall_clock())
        for row in kept:
            said, record, decision = asked.predictions[row], asked.records[row], verdicts.decisions[row]
            case = _case(said, record, entry.at)
            entry.cases[case.event_key] = case
            entry.answers.append(Answer(cards.whole(said), record.partition, record.offset))
            entry.decisions.append(Made(decision, record.partition, case.traceparent))
        held = [Held(verdicts.decisions[row], asked.predictions[row].detail.amount_usd) for row in verdicts.held]
        return await self.books.hold(entry, held)

    async def _tell(
        self,
        verdicts: Verdicts,
        kept: Sequence[int],
        places: Sequence[Delivered],
        standing: Mapping[DecisionKey, Decision],
    ) -> None:
        """Tell the card holders of what is held; those who are not told wait in the outbox."""
        held = [verdicts.decisions[row] for row in verdicts.held]
        updates = [LiveUpdate(each.user_id, each, again=DecisionKey.of(each) in standing) for each in held]
        told = not updates or await self.announcer.tell(updates)
        for row in kept:
            decision = verdicts.decisions[row]
            place, published = places[row], told or decision.action == "allow"
            self.books.marked([Mark(DecisionKey.of(decision), place.partition, place.offset, published)])

    def _count(self, batch: RecordBatch, asked: Asked, verdicts: Verdicts, kept: set[int], failed: int) -> None:
        offsets = (record.offset for row, record in enumerate(asked.records) if row not in kept)
        self.books.allowed(batch.partition, offsets, batch.next_offset)
        held = Counter(verdicts.decisions[row].action for row in verdicts.held)
        for action, n in chain(held.items(), [("allow", len(verdicts.decisions) - len(verdicts.held))]):
            DECIDED.labels("transaction", action).inc(n)
        RECORDS.labels(AGENT, "decided").inc(len(verdicts.decisions))
        RECORDS.labels(AGENT, "failed").inc(failed)


def _case(said: CardPrediction, record: Record, now: datetime) -> Case:
    logged_ms = round(said.at.timestamp() * 1000 - said.latency_ms)
    return Case(
        event_id=said.event_id,
        subject_id=said.subject_id,
        user_id=said.user_id,
        kind="transaction",
        event_at=said.event_at,
        position=Position(said.topic, said.partition, said.offset, logged_ms),
        seen_at=now,
        traceparent=cards.trace(record),
        revision=0,
    )


def _outgoing(asked: Asked, verdicts: Verdicts) -> list[Outgoing]:
    """A record for every decision, in their order, then the alerts; on the partition of their prediction, under its key."""
    name, values = DECISIONS.name, codec.encode_all(verdicts.decisions)
    out = [
        Outgoing(name, record.key, value, [("ce_id", decision.decision_id.encode()), *_SHARED], record.partition)
        for decision, value, record in zip(verdicts.decisions, values, asked.records, strict=True)
    ]
    for row in verdicts.held:
        if traced := cards.trace(asked.records[row]):
            out[row] = out[row]._replace(headers=[*out[row].headers, ("traceparent", traced.encode())])
    return [*out, *(out[row]._replace(topic=ALERTS.name) for row in verdicts.held)]


def _dead(failures: Sequence[Failure]) -> list[Outgoing]:
    now = wall_clock()
    return [dead_letter(record, AGENT, cause_of(error), str(error), now) for record, error in failures]
