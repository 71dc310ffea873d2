"""What a transaction costs in the agent `fraud` and in its decision, part by part: `python -m benchmarks.fraud_cost [CARDS ...]`.

Processor time on one core, the least of several runs, after the state was filled; Kafka, the store and whatever waits are not
in it (`millrace bench fraud` has the whole). The last column is the unit of comparison: how many of numpy's sorts of as many
numbers it takes.
"""

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import numpy as np

from agents._cards import Cards
from agents.fraud import fraud
from app import codec
from app.bus import Outgoing
from app.codec import Decoder
from app.costs import Costs
from app.events import AnyEvent, TransactionMade
from app.modes.scoring.process import Processor, Scored, outgoing
from app.modes.scoring.scorer import Scorer
from app.modes.scoring.state import compressed
from app.modes.stream import Ready, load
from app.registry import Registry, shipped_root
from app.settings import read_settings
from app.testing import record
from app.topics import CARD_PREDICTIONS, TRANSACTIONS
from decision import cards as decide
from simulator.bank import PER_CARD_AND_DAY, Bank
from simulator.transactions import transactions

BATCH = 16_384
_FILL = 4
_RUNS = 7


def main(sizes: Sequence[int]) -> None:
    """One table per number of cards in a partition; there are four partitions unless told otherwise."""
    ready = load(fraud, Registry(shipped_root()))
    for cards in sizes:
        print(f"\n{cards:,} cards in the partition, batches of {BATCH:,}: µs per transaction, and in sorts")
        measure(ready, cards)


def measure(ready: Ready, cards: int) -> None:
    state, batches = Cards(), made(cards, (_FILL + 1) * BATCH)
    for batch in batches[:-1]:
        state.extract(batch)
    last = batches[-1]
    features = state.extract(last)
    scores = fraud.evaluate(ready.model, last, features)
    topic = TRANSACTIONS["pos"]
    records = [record(event, topic.name, 1, row)._replace(headers=()) for row, event in enumerate(last)]
    scorer = Scorer(fraud, ready.model, timeout_s=60.0)
    processor = Processor(fraud, ready.version, Decoder[AnyEvent](topic.messages), scorer)
    scored = Scored(records, last, scores, [])
    said = [
        codec.Record(CARD_PREDICTIONS.name, 1, row, 0, *out[1:3]) for row, out in enumerate(words(processor, scored))
    ]
    sort_s = least(partial(np.sort, np.random.default_rng(1).integers(0, 1 << 60, len(last))))
    parts = {
        "agent: decoding": least(partial(processor.read, records)),
        "agent: features and fold": least(partial(state.extract, last)),
        "agent: model, calibration and detail": least(partial(fraud.evaluate, ready.model, last, features)),
        "agent: columns out": least(partial(words, processor, scored)),
        "decision: columns in, policy, columns out": least(partial(decided, said)),
    }
    for what, seconds in parts.items():
        print(f"  {what:44} {seconds / len(last) * 1e6:6.2f} {seconds / sort_s:8.1f}")
    scorer.close()
    snapshot_s = least(partial(snapshot, state))
    print(
        f"  snapshot: {len(snapshot(state)) / 1e6:.2f} MB, {snapshot_s * 1000:.0f} ms, {snapshot_s / sort_s:.0f} sorts"
    )


def words(processor: Processor, scored: Scored) -> list[Outgoing]:
    return outgoing(fraud.name, processor.tabulate(scored))


def decided(records: Sequence[codec.Record]) -> list[bytes]:
    """What the decision worker does with every row; what it keeps of some of them is not in it."""
    costs, out = Costs.of(read_settings()), list[bytes]()
    for each in records:
        said, _ = decide.read(each)
        if said is not None:
            out.append(codec.encode(decide.Sheet(each, said, decide.judge(said, costs)).in_columns()))
    return out


def snapshot(state: Cards) -> bytes:
    return compressed(state.dump())


def made(cards: int, count: int) -> list[list[TransactionMade]]:
    """Batches of the made-up bank, at the handbook's two transactions a day and card."""
    per_day = cards * PER_CARD_AND_DAY
    births = transactions(
        Bank(cards, seed=1),
        run="cost",
        start=datetime(2026, 1, 1, tzinfo=UTC),
        rate=1000.0,
        speed=1000.0 / per_day * 86_400,
        seed=1,
        seconds=0,
    )
    events = (event for birth in births for event in birth.life if isinstance(event, TransactionMade))
    return [list(islice(events, BATCH)) for _ in range(count // BATCH)]


def least(work: Callable[[], object]) -> float:
    """Seconds of processor time of the quickest run."""
    taken = []
    for _ in range(_RUNS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1_250, 12_500, 25_000])
