"""What a decision worker looks at before it begins."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app import topic_admin
from app.errors import ConfigurationError, TopicMismatch
from app.settings import Settings
from decision import card_worker, worker


@pytest.mark.parametrize("run", [worker.run, card_worker.run], ids=["rides and uploads", "cards"])
async def test_topics_that_do_not_fit_are_said_at_once(
    settings: Settings, run: Callable[[Settings], Awaitable[None]]
) -> None:
    """The join rests on every topic having the same partitions."""
    await topic_admin.ensure(settings)
    other = settings.model_copy(update={"partitions": settings.partitions + 1})
    async with asyncio.timeout(20):
        with pytest.raises(TopicMismatch, match="MILLRACE_PARTITIONS"):
            await run(other)


async def test_what_is_not_set_is_named(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="MILLRACE_REDIS"):
        await worker.run(settings.model_copy(update={"redis": None}))
