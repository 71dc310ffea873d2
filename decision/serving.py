"""The frame of both decision workers: what they stand on is opened, they run until told to stop, and it is closed again."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from app import topic_admin
from app.bus import KafkaProducer
from app.errors import ConfigurationError
from app.live import LivePublisher
from app.modes.consuming.lifecycle import settle, together, until_stopped
from app.settings import Settings
from app.telemetry import observe


class Closes(Protocol):
    """A journal, of either worker."""

    def close(self) -> None: ...


class Serves(Protocol):
    """A worker: `serve` runs until cancelled."""

    async def serve(self) -> None: ...


J = TypeVar("J", bound=Closes)


async def helped(work: Sequence[Coroutine[Any, Any, None]], helpers: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all of them until one ends or this is cancelled; the helpers end last. Raises what failed first.

    For what has a consumer group in it finishes what is in hand, and commits it, with the help of the others.
    """
    helping = asyncio.create_task(together(*helpers))
    try:
        await together(*work, _ends_with(helping))
    finally:
        helping.cancel()
        await asyncio.gather(helping, return_exceptions=True)


async def _ends_with(task: "asyncio.Task[None]") -> None:
    """Ends when the task does, and as it does; being cancelled leaves the task alone."""
    await asyncio.shield(task)


async def serve(
    settings: Settings,
    group: str,
    open_journal: Callable[[str], J],
    worker: Callable[[Settings, J, KafkaProducer, LivePublisher], Serves],
) -> None:
    """Decide until SIGTERM or SIGINT. Raises what retrying did not heal; exits with `EXIT_STUCK` when it is stuck.

    Begins with the topics, as every worker does: raises `TopicMismatch`, and `ServiceUnavailable` where no broker answers.
    """
    observe(settings)
    if settings.kafka is None or settings.redis is None:
        raise ConfigurationError(
            "the decision worker needs MILLRACE_KAFKA and MILLRACE_REDIS; `millrace up` brings both"
        )
    await topic_admin.ensure(settings)
    journal = await asyncio.to_thread(open_journal, settings.database_url)
    producer, publisher = KafkaProducer(settings.kafka, group), LivePublisher(settings.redis)
    try:
        settle()
        await until_stopped(worker(settings, journal, producer, publisher).serve())
    finally:
        await producer.close()
        await publisher.close()
        journal.close()
