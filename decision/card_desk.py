"""What happens to a batch of the card decision worker: decide, write down what is held, deliver, tell.

`decision.card_worker` feeds it, one batch of a partition at a time; knows neither Faust nor Kafka's groups.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from time import monotonic
from typing import cast

from app import codec
from app.bus import Delivered, Outgoing, Producer, deliver
from app.clock import utc_now
from app.codec import Failure
from app.costs import Costs
from app.decisions import Decision
from app.events import FraudReported
from app.live import LiveUpdate
from app.modes.consuming.progress import RecordBatch
from app.modes.scoring.dead_letters import cause_of, dead_letter
from app.predictions import Prediction
from app.sql import card_ledger
from app.sql.ledger import DecisionKey, Mark
from app.telemetry import DECISIONS as DECIDED
from app.telemetry import RECORDS, child_of
from app.topics import ALERTS, CARD_DECISIONS, CHARGEBACKS, DECISIONS
from decision import cards
from decision.card_books import CardBooks
from decision.cards import Sheet
from decision.push import Announcer
from decision.quota import Quota
from decision.recent import Recent

AGENT = "decision.cards"


@dataclass
class Kept:
    """A row that the store keeps, and the decision on it in words."""

    sheet: Sheet
    row: int
    prediction: Prediction
    decision: Decision
    traceparent: str | None
    message: bytes

    @property
    def held(self) -> bool:
        return self.decision.action != "allow"

    def stand(self, standing: Mapping[DecisionKey, Decision]) -> None:
        """What stands in the store already is what counts."""
        if (stood := standing.get(DecisionKey.of(self.decision))) is not None:
            self.decision, self.message = stood, codec.encode(stood)
            self.sheet.actions[self.row] = stood.action

    def written(self) -> card_ledger.Kept:
        """As the store keeps it; the amount is what is at stake."""
        record, amount_usd = self.sheet.record, float(cast("float", self.sheet.said.detail["amount_usd"][self.row]))
        where = (record.partition, record.offset)
        return card_ledger.Kept(self.decision, self.message, self.prediction, amount_usd, *where, self.traceparent)

    def outgoing(self) -> Outgoing:
        """The decision as it would be without columns: keyed by the card, on the partition of its prediction."""
        headers = codec.context(self.decision, self.traceparent)
        return Outgoing(
            DECISIONS.name, self.sheet.said.key[self.row].encode(), self.message, headers, self.sheet.record.partition
        )


@dataclass
class CardDesk:
    """One per worker.

    Attributes:
        quota: how many allowed transactions a second are kept in the store.
    """

    books: CardBooks
    producer: Producer
    announcer: Announcer
    costs: Costs
    quota: Quota
    _recent: defaultdict[int, Recent] = field(default_factory=lambda: defaultdict(Recent))
    _reports: codec.Decoder[FraudReported] = field(default_factory=lambda: codec.Decoder(CHARGEBACKS.messages))

    async def decide(self, batch: RecordBatch) -> None:
        """Predictions: when it returns, every decision is delivered, and those that hold are written down and told."""
        sheets, failures = self._read(batch)
        kept, all_kept = self._kept(sheets)
        standing = await self._write_down(batch, kept, all_kept)
        for each in kept:
            each.stand(standing)
        decided = [each.outgoing() for each in kept]
        alerts = [out._replace(topic=ALERTS.name) for each, out in zip(kept, decided, strict=True) if each.held]
        in_columns = [_in_columns(sheet) for sheet in sheets]
        places = await deliver(self.producer, [*decided, *in_columns, *alerts, *_dead(failures)])
        await self._tell(kept, places, standing)
        self._count(batch, [] if all_kept else sheets, sheets, len(failures))

    async def report(self, batch: RecordBatch) -> None:
        """Chargebacks: they are counted before they are committed."""
        reports, failures = self._reports.decode_batch(batch.records)
        good = [report for report in reports if report is not None]
        self.books.reported(good)
        await deliver(self.producer, _dead(failures))
        RECORDS.labels(AGENT, "reported").inc(len(good))
        RECORDS.labels(AGENT, "failed").inc(len(failures))

    def _read(self, batch: RecordBatch) -> tuple[list[Sheet], list[Failure]]:
        """What has not been decided before: what an agent says again after a kill has been."""
        sheets, failures = list[Sheet](), list[Failure]()
        for record in batch.records:
            said, bad = cards.read(record)
            failures += bad
            if said is not None:
                keys = list(map("/".join, zip(said.user_id, said.event_id, strict=True)))
                new = self._recent[batch.partition].unseen(keys)
                if len(new) < len(keys):
                    said = said.some(new)
                if new:
                    sheets.append(Sheet(record, said, cards.judge(said, self.costs)))
        return sheets, failures

    def _kept(self, sheets: Sequence[Sheet]) -> tuple[list[Kept], bool]:
        """The rows the store keeps: those that are held, and all others as long as they are few; whether they are."""
        every = self.quota.take(sum(sheet.actions.count("allow") for sheet in sheets), monotonic())
        rows = [list(range(len(sheet.actions))) if every else sheet.held for sheet in sheets]
        return [kept for sheet, of in zip(sheets, rows, strict=True) for kept in self._keep(sheet, of)], every

    def _keep(self, sheet: Sheet, rows: Sequence[int]) -> Iterator[Kept]:
        said = sheet.said.some(rows)
        made = cards.worded(said, [sheet.actions[row] for row in rows], self.costs)
        for place, (row, (prediction, decision)) in enumerate(zip(rows, made, strict=True)):
            trace = child_of(said.traceparent.get(place))
            yield Kept(sheet, row, prediction, decision, trace, codec.encode(decision))

    async def _write_down(
        self, batch: RecordBatch, kept: Sequence[Kept], all_kept: bool
    ) -> Mapping[DecisionKey, Decision]:
        """Returns the decisions that stood there already. What was delivered and counted before must not count again."""
        counted = self.books.counted(batch.partition)
        again = [each for each in kept if each.sheet.record.offset < counted]
        new = [each for each in kept if each.sheet.record.offset >= counted]
        standing = dict(await self.books.keep([each.written() for each in again])) if again else {}
        if new:
            through = {batch.partition: batch.next_offset} if all_kept else None
            standing |= await self.books.keep([each.written() for each in new], through)
        return standing

    async def _tell(
        self,
        kept: Sequence[Kept],
        places: Sequence[Delivered],
        standing: Mapping[DecisionKey, Decision],
    ) -> None:
        """Tell the card holders of what is held; those who are not told wait in the outbox. `places` begin with the kept."""
        updates = [
            LiveUpdate(each.decision.user_id, each.decision, again=DecisionKey.of(each.decision) in standing)
            for each in kept
            if each.held
        ]
        told = not updates or await self.announcer.tell(updates)
        self.books.marked(
            Mark(DecisionKey.of(each.decision), places[row].partition, places[row].offset, told or not each.held)
            for row, each in enumerate(kept)
        )

    def _count(self, batch: RecordBatch, uncounted: Sequence[Sheet], sheets: Sequence[Sheet], failed: int) -> None:
        allowed = [(sheet.record.offset, sheet.actions.count("allow")) for sheet in uncounted]
        self.books.allowed(batch.partition, allowed, batch.next_offset)
        for action, n in Counter(chain.from_iterable(sheet.actions for sheet in sheets)).items():
            DECIDED.labels("transaction", action).inc(n)
            RECORDS.labels(AGENT, "decided").inc(n)
        RECORDS.labels(AGENT, "failed").inc(failed)


def _in_columns(sheet: Sheet) -> Outgoing:
    """Every decision of a sheet as one record, on the partition of what it decides."""
    made = sheet.in_columns()
    return Outgoing(CARD_DECISIONS.name, None, codec.encode(made), codec.context(made), made.partition)


def _dead(failures: Sequence[Failure]) -> list[Outgoing]:
    now = utc_now()
    return [dead_letter(record, AGENT, cause_of(error), str(error), now) for record, error in failures]
