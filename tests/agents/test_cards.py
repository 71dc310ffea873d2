"""The vectorised state against a slow one that is plain to see: same bits, whatever the order, the batches and the delays."""

import random
import zlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents._cards import (
    CARD_DAYS,
    CARD_WINDOWS,
    CARDS,
    COLUMNS,
    LATE_DAYS,
    TERMINAL_DAYS,
    TERMINAL_WINDOWS,
    TERMINALS,
    Cards,
)
from agents._daily import Daily
from app.bus import partition_of
from app.events import AnyTransaction, FraudReported, TransactionMade
from app.topics import MAX_SNAPSHOT_BYTES

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday


def made(card: int = 0, day: float = 0, usd: float = 10, terminal: int = 0) -> TransactionMade:
    return TransactionMade(
        event_id="e",
        user_id="u",
        at=START + timedelta(days=day),
        transaction_id="t",
        card_id=f"card{card}",
        terminal_id=f"terminal{terminal}",
        source="pos",
        amount_usd=usd,
    )


def reported(terminal: int = 0, day: float = 0, after: float = 7, card: int = 0) -> FraudReported:
    return FraudReported(
        event_id="f",
        user_id="u",
        at=START + timedelta(days=day + after),
        made_at=START + timedelta(days=day),
        transaction_id="t",
        card_id=f"card{card}",
        terminal_id=f"terminal{terminal}",
        source="pos",
        amount_usd=10,
    )


class Plain:
    """Bucket by bucket, transaction by transaction: id -> place in the ring -> day, count, sum."""

    def __init__(self) -> None:
        self.cards: dict[str, dict[int, list[int]]] = defaultdict(dict)
        self.terminals: dict[str, dict[int, list[int]]] = defaultdict(dict)

    @staticmethod
    def add(ring: dict[int, list[int]], days: int, day: int, cents: int) -> None:
        bucket = ring.setdefault(day % days, [day, 0, 0])
        if bucket[0] < day:
            bucket[:] = [day, 0, 0]
        if bucket[0] == day:
            bucket[1:] = [bucket[1] + 1, bucket[2] + cents]

    def row(self, event: AnyTransaction) -> list[float]:
        if isinstance(event, FraudReported):
            self.add(self.terminals[event.terminal_id], TERMINAL_DAYS, event.made_at.toordinal(), 0)
            return [np.nan] * len(COLUMNS)
        day, cents, ring = event.at.toordinal(), round(event.amount_usd * 100), self.cards[event.card_id]
        counts, means, frauds = [], [], []
        for length in CARD_WINDOWS:
            inside = [bucket for bucket in ring.values() if 0 <= day - bucket[0] < length]
            counts.append(1 + sum(count for _, count, _ in inside))
            means.append((cents + sum(total for *_, total in inside)) / counts[-1] / 100)
        for length in TERMINAL_WINDOWS:
            ring_there = self.terminals[event.terminal_id].values()
            frauds.append(sum(count for known, count, _ in ring_there if 0 <= day - known < length))
        self.add(ring, CARD_DAYS, day, cents)
        usd, least = cents / 100, [max(mean, 0.005) for mean in means]
        return [
            usd,
            event.at.weekday() >= 5,
            event.at.hour <= 6,
            *counts,
            *means,
            *(usd / mean for mean in least),
            *(mean / least[-1] for mean in means[:-1]),
            *(count / counts[-1] for count in counts[:-1]),
            *frauds,
        ]


DAYS = st.one_of(
    st.floats(0, 60, allow_subnormal=False), st.sampled_from([0, 1, 7, 30, 37, 38, 45, 76, 90, 300]).map(float)
)
EVENTS = st.lists(
    st.one_of(
        st.builds(
            made,
            st.integers(0, 2),
            DAYS,
            st.sampled_from([0, 0.01, 9.99, 250, 1_000_000]),
            st.integers(0, 1),
        ),
        st.builds(made, st.just(0), st.integers(40, 43).map(float)),
        st.builds(made, st.just(0), st.sampled_from([0.0, float(CARD_DAYS)])),  # the same bucket: one is too late
        st.builds(reported, st.integers(0, 1), DAYS),
    ),
    max_size=60,
)


def bits(rows: np.ndarray) -> bytes:
    return np.ascontiguousarray(rows).tobytes()


def cut(events: Sequence[AnyTransaction], seed: int) -> list[Sequence[AnyTransaction]]:
    rng, parts, rest = random.Random(seed), [], list(events)
    while rest:
        size = rng.randint(1, 9)
        parts.append(rest[:size])
        rest = rest[size:]
    return parts


@given(EVENTS)
def test_features_are_those_of_the_plain_way(events: list[AnyTransaction]) -> None:
    plain = Plain()
    wanted = np.array([plain.row(event) for event in events], np.float64).reshape(-1, len(COLUMNS))
    assert bits(Cards().extract(events)) == bits(wanted)


@given(EVENTS, st.integers(0, 99))
def test_batches_of_any_size_and_restarts_between_them_change_nothing(events: list[AnyTransaction], seed: int) -> None:
    whole, parts = Cards(), Cards()
    wanted = whole.extract(events)
    told = []
    for part in cut(events, seed):
        parts = Cards.restore(parts.dump())
        told.append(parts.extract(part))
    assert bits(np.concatenate(told) if told else np.empty((0, len(COLUMNS)))) == bits(wanted)
    assert parts.dump() == whole.dump()


@given(EVENTS, st.randoms(use_true_random=False))
def test_the_state_does_not_depend_on_the_order(events: list[AnyTransaction], rng: random.Random) -> None:
    ordered, mixed = Cards(), Cards()
    ordered.extract(events)
    shuffled = rng.sample(events, len(events))
    for part in cut(shuffled, 1):
        mixed.extract(part)
    assert mixed.dump() == ordered.dump()


def column(rows: np.ndarray, name: str) -> list[float]:
    return rows[:, COLUMNS.index(name)].tolist()


def test_a_card_is_counted_by_calendar_days_with_the_transaction_itself() -> None:
    days = [0.2, 0.9, 1.1, 6.5, 7.5, 29.5, 30.5]
    rows = Cards().extract([made(day=day, usd=10 * n) for n, day in enumerate(days, 1)])
    assert column(rows, "card_count_1d") == [1, 2, 1, 1, 1, 1, 1]
    assert column(rows, "card_count_7d") == [1, 2, 3, 4, 3, 1, 2]
    assert column(rows, "card_count_30d") == [1, 2, 3, 4, 5, 6, 5]
    assert column(rows, "card_mean_usd_30d") == [10, 15, 20, 25, 30, 35, 50]


def test_what_is_late_within_the_bound_is_counted_and_sees_full_windows() -> None:
    now = 100.0
    history = [made(day=now - LATE_DAYS - back) for back in range(CARD_WINDOWS[-1])]
    rows = Cards().extract([*history[::-1], made(day=now), made(day=now - LATE_DAYS), made(day=now - LATE_DAYS)])
    assert column(rows, "card_count_30d")[-2:] == [31, 32]
    again = Cards()
    again.extract([made(day=now), made(day=now - LATE_DAYS)])
    assert column(again.extract([made(day=now)]), "card_count_30d") == [3]


def test_what_is_later_than_its_bucket_is_answered_alone_and_not_counted() -> None:
    state = Cards()
    state.extract([made(day=100)])
    before = state.dump()
    rows = state.extract([made(day=100 - CARD_DAYS), made(day=100 - CARD_DAYS)])
    assert column(rows, "card_count_30d") == [1, 1]
    assert state.dump() == before


def test_a_transaction_from_the_far_future_costs_its_card_one_day() -> None:
    state = Cards()
    state.extract([made(day=day) for day in range(10)])
    state.extract([made(day=60_000)])
    assert column(state.extract([made(day=9)]), "card_count_30d")[0] >= 10


def test_a_fraud_counts_at_its_terminal_from_its_report_on_by_the_day_it_was_made() -> None:
    state = Cards()
    state.extract([made(terminal=5, day=0, card=1)])
    assert column(state.extract([made(terminal=5, day=6)]), "terminal_frauds_30d") == [0]
    state.extract([reported(terminal=5, day=0)])
    rows = state.extract([made(terminal=5, day=day) for day in (7, 8, 13, 14, 36, 37)])
    assert column(rows, "terminal_frauds_1d") == [1, 0, 0, 0, 0, 0]
    assert column(rows, "terminal_frauds_7d") == [1, 1, 1, 0, 0, 0]
    assert column(rows, "terminal_frauds_30d") == [1, 1, 1, 1, 1, 0]
    assert column(state.extract([made(terminal=6, day=7)]), "terminal_frauds_30d") == [0]


@pytest.mark.parametrize("partitions", [2, 4])
def test_partitions_that_hear_every_report_tell_what_one_would(partitions: int) -> None:
    rng = random.Random(3)
    events: list[AnyTransaction] = []
    for day in range(60):
        events += [made(rng.randrange(12), day + i / 40, rng.randint(1, 300), rng.randrange(5)) for i in range(40)]
        events += [reported(rng.randrange(5), day - 7) for _ in range(rng.randrange(3))]
    whole = Cards().extract(events)
    for number in range(partitions):
        mine = [
            isinstance(event, FraudReported) or partition_of(event.key.encode(), partitions) == number
            for event in events
        ]
        told = Cards().extract([event for event, own in zip(events, mine, strict=True) if own])
        assert bits(told) == bits(whole[np.flatnonzero(mine)])


def test_the_clock_is_the_one_the_event_tells() -> None:
    event = made(day=0.25)
    abroad = TransactionMade(
        **{name: getattr(event, name) for name in event.__struct_fields__ if name != "at"},
        at=datetime.fromisoformat("2026-03-01T22:00:00-08:00"),  # 06:00 on Monday in UTC, Sunday night there
    )
    rows = Cards().extract([event, abroad])
    assert column(rows, "weekend") == [0, 1]
    assert column(rows, "night") == [1, 0]
    assert column(rows, "card_count_1d") == [1, 1]


def test_those_silent_longest_are_forgotten_when_too_many_come() -> None:
    table = Daily(10, 8)
    for day, name in enumerate("abcdefgh"):
        rows = table.take_in([name])
        table.add(rows, np.array([day]), np.array([1]), np.array([0]))
    table.take_in(["a", "new"])
    assert len(table) == 7
    assert [name for name in "abcdefgh" if table.find([name])[0] >= 0] == ["a", *"defgh"]


def full(days: int, ids: int, name: str, a_day: float) -> Daily:
    """A table in which nothing is free: so many entries a day of each id."""
    rng, table = np.random.default_rng(0), Daily(days, ids)
    rows = table.take_in([f"{name}-{number:012d}" for number in rng.permutation(10 * ids)[:ids]])
    for day in range(days):
        counts = rng.poisson(a_day, ids)
        some = np.flatnonzero(counts)
        sums = np.rint(rng.gamma(2, 2500, len(some)) * counts[some]).astype(np.int64)
        table.add(rows[some], np.full(len(some), 739_000 + day), counts[some], sums)
    return table


def test_a_full_snapshot_fits_its_topic() -> None:
    state = Cards()
    state._cards = full(CARD_DAYS, CARDS, "card", 2.0)
    state._terminals = full(TERMINAL_DAYS, TERMINALS, "terminal", 0.1)
    assert len(zlib.compress(state.dump(), level=1)) < MAX_SNAPSHOT_BYTES / 1.5
