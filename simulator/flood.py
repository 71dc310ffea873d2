"""Card transactions straight onto their topics, tens of thousands a second, at a steady rate that waits for nobody.

One process: `bank` draws, `wire` writes, a lane per topic and partition sends, one batch in flight each. `surge` runs
several. Open loop: every record's timestamp is when it was *due*, so a latency that counts from there hides no queueing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from random import Random

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.bus import partition_of
from app.errors import DeliveryFailed
from app.topics import CHARGEBACKS, TRANSACTIONS
from simulator.backoff import wait_s
from simulator.bank import DAY_S, REPORTED_AFTER_DAYS, SOURCES, Bank, Drawn, Ints
from simulator.flow import Count, Flow, Lane
from simulator.record_batch import MOST, Bytes, pack
from simulator.wire import Template, card_id

TICK_S, LONGEST_TICK_S, LONGEST_FROM = 0.01, 0.05, 65_000.0
"""Between draws, and so between the batches of a lane: longer in proportion to the rate, up to so many a second. A batch costs
the broker 0.15 ms whatever is in it, at 65,000/s in ticks of 10 ms more than all else it does."""

REPORTS_EVERY_S = 0.25
"""Reports are few: a batch of their own every tick would cost more than they do."""

WAITING_S = 2.0
"""Of the rate: so much may wait for the broker before we stop drawing and fall behind."""

PATIENCE_S = 120.0
"""How long a batch is tried again: a broker that was killed is back in a tenth of this."""


class Flood:
    """Sends a flow through a connected producer.

    Args:
        partitions: of each topic.
        counts: `Count` says what is written where.
        clock: seconds since 1970: records carry it.
    """

    def __init__(
        self,
        flow: Flow,
        bank: Bank,
        producer: AIOKafkaProducer,
        partitions: int,
        counts: MutableSequence[float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._flow, self._bank, self._producer, self._clock, self.counts = flow, bank, producer, clock, counts
        self._rng = np.random.default_rng([flow.seed, 2, *flow.numbers])
        self._partition = np.array([partition_of(card_id(n).encode(), partitions) for n in range(bank.cards)])
        self._lanes = [Lane(TRANSACTIONS[source].name, p) for source in SOURCES for p in range(partitions)]
        self._report_lanes = [Lane(CHARGEBACKS.name, p) for p in range(partitions)]
        self._partitions, self._epoch_us = partitions, int(flow.start.timestamp()) * 1_000_000
        self._made = [Template(flow.run, source) for source in SOURCES]
        self._reported = [Template(flow.run, source, reported=True) for source in SOURCES]
        self._frauds: list[tuple[Ints, Drawn]] = []
        self._tick_s = max(TICK_S, LONGEST_TICK_S * min(1.0, flow.rate / LONGEST_FROM))

    async def run(self) -> None:
        """Send it to its end. Raises `DeliveryFailed` when the broker stays away."""
        async with asyncio.TaskGroup() as group:
            senders = [group.create_task(self._send(lane)) for lane in (*self._lanes, *self._report_lanes)]
            await self._draw()
            while self._waiting():  # noqa: ASYNC110 - many lanes, one look
                await asyncio.sleep(TICK_S)
            for sender in senders:
                sender.cancel()

    async def _draw(self) -> None:
        flow, counts, began, reports_at = self._flow, self.counts, self._clock(), 0.0
        made, cpu_before_s = 0, time.process_time()
        while made < flow.total and not counts[Count.stop]:
            now_s = self._clock() - began
            due = min(flow.total, int(now_s * flow.rate), made + MOST * len(self._lanes))
            if due > made and self._waiting() < flow.rate * WAITING_S:
                due_s = began + made / flow.rate
                counts[Count.behind_s] = max(counts[Count.behind_s], now_s - made / flow.rate - self._tick_s)
                counts[Count.late_ticks] += now_s - made / flow.rate > 2 * self._tick_s
                counts[Count.ticks] += 1
                self._make(made, due, due_s)
                made = due
            if now_s >= reports_at:
                reports_at = now_s + REPORTS_EVERY_S
                self._report(made / flow.rate * flow.days_per_s)
            counts[Count.seconds], counts[Count.cpu_s] = self._clock() - began, time.process_time() - cpu_before_s
            await asyncio.sleep(max(0.0, self._tick_s - (self._clock() - began - now_s)))

    def _make(self, first: int, end: int, due_s: float) -> None:
        """Draw the transactions `first` to `end` of this process and lay them before their lanes."""
        flow = self._flow
        place = np.arange(first, end, dtype=np.int64)
        drawn = self._bank.draw(place / flow.rate * flow.days_per_s, self._rng)
        number = place * flow.numbers[1] + flow.numbers[0]
        self.counts[Count.made] += len(place)
        self._lay(self._made, self._lanes, self._columns(number, drawn), due_s)
        frauds = drawn.scenario > 0
        if frauds.any():
            self._frauds.append((number[frauds], drawn.where(frauds)))

    def _report(self, today: float) -> None:
        """Send the reports of what was made `REPORTED_AFTER_DAYS` ago."""
        due: list[tuple[Ints, Drawn]] = []
        while self._frauds and self._frauds[0][1].day[-1] + REPORTED_AFTER_DAYS <= today:
            due.append(self._frauds.pop(0))
        for number, drawn in due:
            columns = self._columns(number, drawn)
            made_at = columns["at"]
            after = made_at + REPORTED_AFTER_DAYS * DAY_S * 1_000_000
            self.counts[Count.reported] += len(number)
            columns = {**columns, "at": after, "made_at": made_at}
            self._lay(self._reported, self._report_lanes * len(SOURCES), columns, self._clock())

    def _columns(self, number: Ints, drawn: Drawn) -> dict[str, Ints]:
        at = (self._bank.seconds(drawn.day) * 1e6).astype(np.int64) + self._epoch_us
        return {"number": number, "card": drawn.card, "terminal": drawn.terminal, "cents": drawn.cents, "at": at}

    def _lay(
        self, templates: Sequence[Template], lanes: Sequence[Lane], columns: Mapping[str, Ints], due_s: float
    ) -> None:
        """To each lane its rows, in order: by source, for each has a template, and by the partition of the card."""
        source = self._bank.source[columns["terminal"]]
        lane = source * self._partitions + self._partition[columns["card"]]
        order = np.argsort(lane, kind="stable")
        bounds = np.searchsorted(lane[order], np.arange(len(lanes) + 1))
        for kind, template in enumerate(templates):
            first = kind * self._partitions
            start, end = int(bounds[first]), int(bounds[first + self._partitions])
            if start < end:
                rows = template.fill({name: column[order[start:end]] for name, column in columns.items()})
                for number in range(first, first + self._partitions):
                    if bounds[number] < bounds[number + 1]:
                        lanes[number].put(rows[bounds[number] - start : bounds[number + 1] - start], due_s)

    async def _send(self, lane: Lane) -> None:
        """Whatever waits in a lane, one batch after the other: what comes meanwhile makes the next one larger."""
        while True:
            await lane.wake.wait()
            pieces, due_s = lane.take()
            for rows in pieces:
                await self._deliver(lane, rows, int(due_s * 1000))
                self.counts[Count.delivered] += len(rows)

    async def _deliver(self, lane: Lane, rows: Bytes, timestamp_ms: int) -> None:
        began, attempt = self._clock(), 0
        while True:
            try:
                sent = await self._producer.send_batch(pack(rows, timestamp_ms), lane.topic, partition=lane.partition)
                await sent
                return
            except KafkaError as error:
                if self._clock() - began > PATIENCE_S:
                    raise DeliveryFailed(f"{lane.topic}: {type(error).__name__}: {error}") from error
                self.counts[Count.retries] += 1
                await asyncio.sleep(wait_s(attempt, Random()))
                attempt += 1

    def _waiting(self) -> int:
        return int(self.counts[Count.made] + self.counts[Count.reported] - self.counts[Count.delivered])
