"""Several floods at once, each a process with a share of the cards: what `millrace simulate transactions` runs past 200/s.

The bank is made once and shared by forking. A card is in one process's hands, so its transactions stay in order.
"""

import multiprocessing
import signal
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray

import msgspec
import uvloop
from aiokafka.errors import KafkaError

from app.bus import KafkaProducer
from app.errors import ConfigurationError, DeliveryFailed, MillraceError
from app.settings import Settings
from app.topics import TRANSACTIONS
from simulator.bank import PER_CARD_AND_DAY, Bank
from simulator.flood import Flood
from simulator.flow import Count, Flow

BEHIND_S = 0.5
"""A generator that was ever later than this did not send at the rate it was asked for, and says so."""

_LOOK_S = 0.25


@dataclass(frozen=True)
class Surge:
    """What came of it.

    Attributes:
        made: transactions; their ids are `<run>-000000000000` and so on, without a gap.
        reported: of them later reported as frauds.
        delivered: records of both kinds that Kafka has acknowledged.
        behind_s: how late the latest tick was.
        cpu_s: of all processes of the generator.
    """

    run: str
    made: int
    reported: int
    delivered: int
    seconds: float
    rate: float
    behind_s: float
    late_ticks: float
    retries: int
    cpu_s: float
    processes: int

    @property
    def whole(self) -> bool:
        """Whether everything arrived, at the rate asked for."""
        return self.delivered == self.made + self.reported and self.behind_s <= BEHIND_S

    def to_json(self) -> str:
        return msgspec.json.encode(asdict(self)).decode()


def days_per_s(rate: float, cards: int, speed: float | None) -> float:
    """How fast event time runs: as told, else so fast that every card keeps the handbook's two transactions a day."""
    return speed / 86_400 if speed is not None else rate / (cards * PER_CARD_AND_DAY)


def surge(
    flow: Flow, cards: int, processes: int, settings: Settings, watch: Callable[[Sequence[float]], None]
) -> Surge:
    """Send `flow`, its rate shared between processes; `watch` is shown the sums (see `Count`) four times a second.

    Ctrl-C ends it early, with what was drawn delivered. Raises `ConfigurationError` for what cannot be,
    `DeliveryFailed` when a process could not deliver.
    """
    if cards < processes:
        raise ConfigurationError(f"--users {cards}: {processes} processes need a card each, at least")
    context = multiprocessing.get_context("fork")
    bank, counts = Bank(cards, flow.seed), [RawArray("d", len(Count)) for _ in range(processes)]
    children = [
        context.Process(target=_child, args=(_part(flow, k, processes), bank.dealt(k, processes), settings, row))
        for k, row in enumerate(counts)
    ]
    for child in children:
        child.start()
    try:
        _await_end(children, counts, watch)
    finally:
        for child in children:
            child.terminate()
            child.join()
    if any(child.exitcode for child in children):
        raise DeliveryFailed("a process of the generator could not deliver; its reason stands above")
    return _result(flow, counts)


def _part(flow: Flow, number: int, processes: int) -> Flow:
    """One process's part: the same stretch of event time at a part of the rate, and every so many-th number."""
    return replace(flow, rate=flow.rate / processes, numbers=(number, processes))


def _await_end(
    children: Sequence[BaseProcess], counts: Sequence[MutableSequence[float]], watch: Callable[[Sequence[float]], None]
) -> None:
    while running := [child for child in children if child.is_alive()]:
        try:
            running[0].join(_LOOK_S)
            watch(_sums(counts))
        except KeyboardInterrupt:
            for row in counts:
                row[Count.stop] = 1.0


def _sums(counts: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) for column in zip(*counts, strict=True)]


def _result(flow: Flow, counts: Sequence[Sequence[float]]) -> Surge:
    sums, seconds = _sums(counts), max(row[Count.seconds] for row in counts)
    return Surge(
        run=flow.run,
        made=int(sums[Count.made]),
        reported=int(sums[Count.reported]),
        delivered=int(sums[Count.delivered]),
        seconds=seconds,
        rate=sums[Count.made] / max(seconds, 1e-9),
        behind_s=max(row[Count.behind_s] for row in counts),
        late_ticks=sums[Count.late_ticks] / max(1.0, sums[Count.ticks]),
        retries=int(sums[Count.retries]),
        cpu_s=sums[Count.cpu_s],
        processes=len(counts),
    )


def _child(flow: Flow, bank: Bank, settings: Settings, counts: MutableSequence[float]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent tells us to end
    try:
        uvloop.run(_flood(flow, bank, settings, counts))
    except* (MillraceError, KafkaError) as group:
        raise SystemExit(f"millrace: {group.exceptions[0]}") from None


async def _flood(flow: Flow, bank: Bank, settings: Settings, counts: MutableSequence[float]) -> None:
    kafka = KafkaProducer(settings.kafka or "", "millrace-simulate")
    try:
        producer = await kafka.start()
        found = {len(await producer.partitions_for(topic.name)) for topic in TRANSACTIONS.values()}
        await Flood(flow, bank, producer, found.pop(), counts).run()
    finally:
        await kafka.close()
