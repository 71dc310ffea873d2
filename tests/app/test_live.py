"""The live channel's log, on a real Redis: one contract for everybody who resumes."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from redis.asyncio import Redis

from app.decisions import Decision, Figure
from app.errors import ServiceUnavailable
from app.live import AnyLive, LiveDecision, LivePrediction, LivePublisher, LiveRevision, LiveUpdate, with_id
from app.live_log import Cursor, LiveLog, Page, connect
from app.predictions import Prediction
from app.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
decoder = msgspec.json.Decoder(AnyLive)


def decision(user_id: str, event_id: str, revision: int = 0) -> Decision:
    return Decision(
        decision_id=f"{event_id}.{revision}",
        subject_id=f"ride-{event_id}",
        user_id=user_id,
        kind="ride",
        event_id=event_id,
        event_at=NOW,
        at=NOW,
        action="quote",
        reasons=("it is a ride",),
        predictions=(Figure(model="eta", version="1", value=7.5, unit="min"),),
        revision=revision,
    )


def prediction(user_id: str, event_id: str) -> Prediction:
    return Prediction(
        event_id=event_id,
        subject_id=f"ride-{event_id}",
        user_id=user_id,
        kind="ride",
        model="eta",
        version="1",
        value=7.5,
        unit="min",
        topic="rides",
        partition=0,
        offset=1,
        event_at=NOW,
        at=NOW,
        latency_ms=1.0,
    )


@pytest.fixture
async def redis(services: Settings) -> AsyncIterator[Redis]:
    client = connect(services.redis or "")
    yield client
    await client.aclose()


@pytest.fixture
def log(redis: Redis) -> LiveLog:
    return LiveLog(redis)


@pytest.fixture
async def publisher(services: Settings) -> AsyncIterator[LivePublisher]:
    made = LivePublisher(services.redis or "", patience=timedelta(seconds=0.3))
    yield made
    await made.close()


def updates(user_id: str, *numbers: int, again: bool = False) -> list[LiveUpdate]:
    return [LiveUpdate(user_id, decision(user_id, f"{user_id}-{n}"), again) for n in numbers]


def said(page: Page) -> list[AnyLive]:
    return [decoder.decode(with_id(*entry)) for entry in page.entries]


def events(page: Page) -> list[str]:
    return [message.event_id for message in said(page) if isinstance(message, LiveDecision)]


async def test_a_reader_that_comes_back_gets_exactly_what_followed(
    publisher: LivePublisher, log: LiveLog, namespace: str
) -> None:
    start = (await log.after(namespace, None)).position
    await publisher.publish(updates(namespace, *range(5)))
    await publisher.publish(updates(f"{namespace}-other", 0, 1))
    first = await log.after(namespace, start, limit=3)
    rest = await log.after(namespace, first.position)
    assert (first.complete, first.more, rest.complete, rest.more) == (True, True, True, False)
    assert events(first) + events(rest) == [f"{namespace}-{n}" for n in range(5)]
    cursors = [entry.cursor for entry in first.entries + rest.entries]
    assert start.precedes(cursors[0])
    assert all(earlier.precedes(later) for earlier, later in pairwise(cursors))
    assert not cursors[0].precedes(cursors[2])


async def test_messages_look_as_the_interface_says(publisher: LivePublisher, log: LiveLog, namespace: str) -> None:
    start = (await log.after(namespace, None)).position
    messages = (prediction(namespace, "a"), decision(namespace, "a"), decision(namespace, "a", revision=1))
    await publisher.publish([LiveUpdate(namespace, message) for message in messages])
    page = await log.after(namespace, start)
    assert [type(message) for message in said(page)] == [LivePrediction, LiveDecision, LiveRevision]
    raw = msgspec.json.decode(with_id(*page.entries[1]))
    assert raw["id"] == str(page.entries[1].cursor)
    assert raw.keys() >= {"type", "subject_id", "kind", "at", "action", "reasons", "predictions", "missing", "revision"}


async def test_a_second_delivery_is_dropped_while_the_first_is_still_there(
    publisher: LivePublisher, log: LiveLog, namespace: str
) -> None:
    start = (await log.after(namespace, None)).position
    await publisher.publish(updates(namespace, 0, 1))
    await publisher.publish(updates(namespace, 0, 1, 2, 2, again=True))
    assert events(await log.after(namespace, start)) == [f"{namespace}-{n}" for n in range(3)]


async def test_a_trimmed_history_is_not_complete(redis: Redis, services: Settings, namespace: str) -> None:
    publisher, log = LivePublisher(services.redis or "", cap=10), LiveLog(redis)
    start = (await log.after(namespace, None)).position
    await publisher.publish(updates(namespace, *range(400)))
    await publisher.close()
    page = await log.after(namespace, start)
    assert not page.complete
    assert page.entries == []
    assert page.position.n == 400
    assert await redis.xlen(f"live:user:{namespace}") < 150


async def test_an_expired_history_is_not_complete(redis: Redis, services: Settings, namespace: str) -> None:
    publisher, log = LivePublisher(services.redis or "", ttl=timedelta(milliseconds=1)), LiveLog(redis)
    start = (await log.after(namespace, None)).position
    await publisher.publish(updates(namespace, 0))
    await publisher.close()
    deadline = time.monotonic() + 5
    while await redis.exists(f"live:user:{namespace}"):
        assert time.monotonic() < deadline
    had = Cursor(start.epoch, start.birth + 1, 1)
    assert not (await log.after(namespace, had)).complete


async def test_flushall_begins_a_new_epoch(
    publisher: LivePublisher, log: LiveLog, redis: Redis, namespace: str
) -> None:
    await publisher.publish(updates(namespace, 0))
    before = (await log.after(namespace, None)).position
    await redis.flushall()
    silent = await log.after(namespace, before)
    await publisher.publish(updates(namespace, 1))
    after = await log.after(namespace, before)
    assert not silent.complete
    assert not after.complete
    assert after.position.epoch != before.epoch
    assert (await log.after(namespace, after.position)).complete


async def test_what_a_publisher_gave_up_on_begins_a_new_epoch(
    publisher: LivePublisher, log: LiveLog, redis: Redis, namespace: str
) -> None:
    await publisher.publish(updates(namespace, 0))
    before = (await log.after(namespace, None)).position
    await redis.execute_command("CLIENT", "PAUSE", "1000", "ALL")
    with pytest.raises(ServiceUnavailable) as raised:
        await publisher.publish(updates(namespace, 1))
    assert raised.value.part == "redis"
    await redis.execute_command("CLIENT", "UNPAUSE")
    await publisher.publish(updates(namespace, 2))
    assert not (await log.after(namespace, before)).complete


async def test_a_cursor_of_the_future_or_of_another_log_is_not_complete(
    publisher: LivePublisher, log: LiveLog, namespace: str
) -> None:
    await publisher.publish(updates(namespace, 0))
    end = (await log.after(namespace, None)).position
    for cursor in (end._replace(n=end.n + 1), end._replace(birth=end.birth - 7), end._replace(epoch="0" * 16)):
        assert not (await log.after(namespace, cursor)).complete
    assert Cursor.parse(str(end)) == end
    assert [Cursor.parse(text) for text in ("", "x", f"{end} ", "0" * 5000, str(end).upper() + "\n")] == [None] * 5


async def test_a_publisher_told_to_end_ends_wherever_it_is(services: Settings, namespace: str) -> None:
    """redis-py 8.1 takes a cancellation that comes as it has just written for none; a worker would go on, unstoppable."""

    async def publish_forever(publisher: LivePublisher) -> None:
        while True:
            await publisher.publish(updates(namespace, 0))

    for turns in range(40):  # each time it has come a little further, from connecting on
        publisher = LivePublisher(services.redis or "")
        publishing = asyncio.create_task(publish_forever(publisher))
        for _ in range(turns):
            await asyncio.sleep(0)
        publishing.cancel()
        ended, _ = await asyncio.wait({publishing}, timeout=1)
        publishing.cancel()
        await publisher.close()
        assert ended, f"it went on after {turns} turns"


async def test_a_task_that_was_cancelled_may_still_tidy_up_in_redis(redis: Redis, namespace: str) -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await redis.set(namespace, "left tidy", px=60_000)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait({working}, timeout=5)
    assert working.cancelled()
    assert await redis.get(namespace) == b"left tidy"
