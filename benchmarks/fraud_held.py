"""What a transaction that is held costs the card decision worker beside one that is allowed: `python -m benchmarks.fraud_held`.

Processor time of everything the desk does, SQL on a file of its own included: wording, encoding, writing down, marking. Kafka and
Redis are not in it. Batches of four records of 4,000 rows as they come at 65,000 a second; written down twice a second.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random

from app import codec
from app.bus import Delivered, Outgoing
from app.costs import Costs
from app.live import LiveUpdate, live_message
from app.modes.consuming.lifecycle import settle
from app.modes.consuming.progress import RecordBatch
from app.predictions import PredictionBatch
from app.settings import read_settings
from app.sql.card_journal import CardJournal
from app.store import Store
from app.topics import CARD_PREDICTIONS
from decision.card_books import CardBooks
from decision.card_desk import CardDesk
from decision.clerk import Clerk
from decision.push import Announcer
from decision.quota import Quota

ROWS, RECORDS, PARTITIONS = 4_000, 4, 4
CARDS = 50_000
FRAUD = 0.95
"""A probability that is blocked whatever the amount."""

_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
_RUNS = 3


class Taker:
    """A Kafka and a live channel that take everything, encoded, and keep nothing."""

    def __init__(self) -> None:
        self._offset = count()

    async def send(self, records: Sequence[Outgoing]) -> Sequence[Delivered]:
        return [Delivered(each.topic, each.partition or 0, next(self._offset)) for each in records]

    async def post(self, records: Sequence[Outgoing]) -> None:
        """Nobody waits for it."""

    async def close(self) -> None:
        """Nothing is held."""

    async def publish(self, updates: Sequence[LiveUpdate]) -> None:
        codec.encode_all([live_message(each.message) for each in updates])


def batches(number: int, held: float) -> Iterator[RecordBatch]:
    """So many, each transaction held with this probability."""
    rng, topic = Random(number), CARD_PREDICTIONS.name
    for batch in range(number):
        firsts = ((batch * RECORDS + record) * ROWS for record in range(RECORDS))
        values = [codec.encode(_said(range(first, first + ROWS), held, rng)) for first in firsts]
        partition, offset = batch % PARTITIONS, batch * RECORDS
        records = [codec.Record(topic, partition, offset + n, 0, None, value) for n, value in enumerate(values)]
        yield RecordBatch(topic, partition, records, offset + len(records))


def _said(numbers: range, held: float, rng: Random) -> PredictionBatch:
    ids, users = [f"t-{n:012d}" for n in numbers], [f"holder-{rng.randrange(CARDS)}" for _ in numbers]
    detail: dict[str, list[object]] = {
        "amount_usd": [100.25] * len(ids),
        "terminal_id": list(ids),
        "source": ["pos"] * len(ids),
    }
    return PredictionBatch(
        kind="transaction",
        model="fraud",
        version="1",
        unit="probability",
        topic="transactions.pos",
        partition=0,
        at=_AT + timedelta(milliseconds=numbers[0]),
        event_id=ids,
        subject_id=ids,
        user_id=users,
        key=users,
        event_at=[_AT] * len(ids),
        offset=list(numbers),
        value=[FRAUD if rng.random() < held else 0.001 for _ in ids],
        latency_ms=[500.125] * len(ids),
        detail=detail,
    )


async def decide(directory: Path, number: int, held: float) -> tuple[float, int]:
    """Seconds of processor time for all of it, and how many were held."""
    journal, taker, spent = CardJournal.open(f"sqlite:///{directory / 'store.db'}"), Taker(), 0.0
    books = CardBooks(Clerk(journal))
    desk = CardDesk(books, taker, Announcer(taker, books), Costs.of(read_settings()), Quota(0, 0.0))
    await books.open(dict.fromkeys(range(PARTITIONS), 1 << 40))
    for done, batch in enumerate(batches(number, held)):
        started = time.process_time()
        await desk.decide(batch)
        if done % 2:
            await books.settle()
        spent += time.process_time() - started
    kept = sum(n for action, n in Store(journal.engine).actions().items() if action != "allow")
    journal.close()
    return spent, kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=int, default=30, help=f"of {RECORDS * ROWS:,} transactions (default 30)")
    parser.add_argument("--held", type=float, nargs="+", default=[0.014, 0.03], help="shares that are held")
    chosen = parser.parse_args()
    settle()
    transactions = chosen.batches * RECORDS * ROWS
    least = {share: min(run(chosen.batches, share) for _ in range(_RUNS)) for share in (0.0, *chosen.held)}
    allowed_s = least[0.0][0]
    print(f"nothing held: {allowed_s / transactions * 1e6:.2f} µs a transaction")
    for share in chosen.held:
        spent, kept = least[share]
        print(f"{share:.1%} held: {(spent - allowed_s) / kept * 1e6:.0f} µs more for each of {kept:,}")


def run(number: int, held: float) -> tuple[float, int]:
    """`decide`, on a store of its own."""
    with tempfile.TemporaryDirectory(prefix="millrace-held-") as directory:
        return asyncio.run(decide(Path(directory), number, held))


if __name__ == "__main__":
    main()
