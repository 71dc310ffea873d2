"""What a transaction costs in the agent `fraud` itself, part by part: `python -m benchmarks.fraud_cost [CARDS ...]`.

Processor time on one core, the least of several runs, after the state was filled; decoding, Kafka and the wording of
predictions are not in it (`millrace bench fraud` has the whole). The last column is the unit of comparison: how many
of numpy's sorts of as many numbers it takes.
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
from app.agent import Model
from app.events import TransactionMade
from app.modes.state import compressed
from app.registry import Registry, shipped_root
from simulator.bank import PER_CARD_AND_DAY, Bank
from simulator.transactions import transactions

BATCH = 16_384
_FILL = 4
_RUNS = 7


def main(sizes: Sequence[int]) -> None:
    """One table per number of cards in a partition; there are four partitions unless told otherwise."""
    model = fraud.load(Registry(shipped_root()).load("fraud"))
    for cards in sizes:
        print(f"\n{cards:,} cards in the partition, batches of {BATCH:,}: µs per transaction, and in sorts")
        measure(model, cards)


def measure(model: Model, cards: int) -> None:
    state, batches = Cards(), made(cards, (_FILL + 1) * BATCH)
    for batch in batches[:-1]:
        state.extract(batch)
    last = batches[-1]
    features = state.extract(last)
    sort_s = least(partial(np.sort, np.random.default_rng(1).integers(0, 1 << 60, len(last))))
    parts = {
        "features and fold": least(partial(state.extract, last)),
        "model, calibration and detail": least(partial(fraud.evaluate, model, last, features)),
    }
    for what, seconds in parts.items():
        print(f"  {what:32} {seconds / len(last) * 1e6:6.2f} {seconds / sort_s:8.1f}")
    snapshot_s = least(partial(snapshot, state))
    print(
        f"  snapshot: {len(snapshot(state)) / 1e6:.2f} MB, {snapshot_s * 1000:.0f} ms, {snapshot_s / sort_s:.0f} sorts"
    )


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
