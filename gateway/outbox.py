"""The outbox: an accepted event becomes a record, and is answered once Kafka has it.

Between the routes and `app.bus.Producer`. Requests that arrive while a batch is on its way to Kafka go together in the
next one; how many may wait is bounded, and so is how long.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from app import codec
from app.asking.asker import ID_PREFIX
from app.bus import Delivered, Outgoing, Producer
from app.codec import Headers
from app.errors import DeliveryFailed, InvalidMessage, MillraceError, ServiceUnavailable, TooManyEvents
from app.events import Event
from app.topics import topic_of

IN_FLIGHT = 2000
"""Records on their way to Kafka per gateway process; at 100 a second Kafka may be silent for 20 s before we say so."""


class Entry(NamedTuple):
    """A record and who waits for it."""

    record: Outgoing
    done: "asyncio.Future[Delivered]"


class Outbox:
    """Sends events; `run` does the sending until cancelled.

    Args:
        deadline: how long a request waits for Kafka. Past it, the fate of its event is unknown to the client, who
            sends it again with the same event id.
    """

    def __init__(
        self, producer: Producer, *, in_flight: int = IN_FLIGHT, deadline: timedelta = timedelta(seconds=5)
    ) -> None:
        self._producer, self._in_flight, self._deadline_s = producer, in_flight, deadline.total_seconds()
        self._waiting: list[Entry] = []
        self._wake = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._held = 0
        self._freed = asyncio.Event()

    @property
    def held(self) -> int:
        """Records handed over and not yet acknowledged."""
        return self._held

    async def send(
        self, events: Sequence[Event], traceparent: str | None = None, headers: Headers = ()
    ) -> list[Delivered]:
        """Where the events came to lie, once Kafka has acknowledged all. `headers` go on each record, besides its own.

        Raises `ServiceUnavailable` ("kafka") when it has not in time, `TooManyEvents` when there is no room for them, and
        `InvalidMessage` for an id that stands for something that was only asked about.
        """
        if any(event.event_id.startswith(ID_PREFIX) for event in events):
            raise InvalidMessage(f"ids that begin with {ID_PREFIX} are of what is only asked about", "event_id")
        if self._held + len(events) > self._in_flight:
            raise TooManyEvents
        loop = asyncio.get_running_loop()
        entries = [Entry(record(event, traceparent, headers), loop.create_future()) for event in events]
        self._held += len(entries)
        for entry in entries:
            entry.done.add_done_callback(self._released)
        self._waiting += entries
        self._wake.set()
        done = asyncio.gather(*(entry.done for entry in entries))
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.shield(done)
        except TimeoutError as error:
            done.add_done_callback(_seen)
            raise ServiceUnavailable("kafka", "it has not acknowledged in time", retry_after_s=2.0) from error

    async def room(self, n: int, within_s: float) -> None:
        """Wait until n more may be sent: for whoever has many and can wait. Raises `TooManyEvents`.

        Half of the room is left to those who cannot.
        """
        try:
            async with asyncio.timeout(within_s):
                while self._held and self._held + n > self._in_flight // 2:
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError as error:
            raise TooManyEvents from error

    async def run(self) -> None:
        """Send what waits, one batch at a time per turn of the loop; several batches may be under way."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch, self._waiting = self._waiting, []
                if batch:
                    task = asyncio.create_task(self._deliver(batch))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _deliver(self, batch: Sequence[Entry]) -> None:
        try:
            delivered = await self._producer.send([entry.record for entry in batch])
        except BaseException as error:
            failure = error if isinstance(error, MillraceError) else DeliveryFailed(f"sending failed: {error!r}")
            for entry in batch:
                if not entry.done.done():
                    entry.done.set_exception(failure)
                    entry.done.exception()  # seen: whoever asked may have left
            if not isinstance(error, MillraceError):
                raise
            return
        for entry, place in zip(batch, delivered, strict=True):
            if not entry.done.done():
                entry.done.set_result(place)

    def _released(self, _: object) -> None:
        self._held -= 1
        self._freed.set()


def record(event: Event, traceparent: str | None, headers: Headers = ()) -> Outgoing:
    """The Kafka record of an event; a trace begins here unless the client has begun one."""
    trace = traceparent or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return Outgoing(
        topic_of(event).name, event.key.encode(), codec.encode(event), (*codec.context(event, trace), *headers)
    )


def _seen(done: "asyncio.Future[list[Delivered]]") -> None:
    with contextlib.suppress(asyncio.CancelledError):
        done.exception()
