"""The way out to Kafka: records are handed over in batches and are *delivered* when the call returns.

Used by the loop, the decision worker and the gateway; `app.testing.MemoryBus` keeps the same contract without a broker.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from app.codec import Headers


class Outgoing(NamedTuple):
    """A record to be sent; without a partition, its key chooses (Kafka's murmur2, as every client does)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Delivered(NamedTuple):
    """Where a record came to lie."""

    topic: str
    partition: int
    offset: int


class Producer(Protocol):
    """Sends records; one per process is enough."""

    async def send(self, records: Sequence[Outgoing]) -> list[Delivered]:
        """Deliver all of them, in order per key. Raises `DeliveryFailed` when any was not acknowledged in time.

        After a failure the fate of each is unknown: send the same records again; every reader is idempotent.
        """
        ...

    async def close(self) -> None: ...
