"""The embedded services of a machine that has none: a Kafka broker and a Redis, started when nobody set any.

`with services(settings) as resolved:` is all a supervisor or a test needs. The services stop with the process that
started them, however it ends; another process with the same data directory shares them. The data stays.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from app.errors import ConfigurationError, ServiceUnavailable
from app.services import aot, jars
from app.services.kafka import apache_kafka, find_tansu, tansu
from app.services.process import Recipe, Service, find, running
from app.services.redis import find_redis, redis
from app.settings import Settings

__all__ = ["Notice", "Service", "attached", "fetch_jars", "found", "prepare", "services"]

Notice = Callable[[str], None]
"""Told in a sentence what the user should know while services start."""

_INSTALL = "pip install 'millrace[embedded]'"


def _to_stderr(sentence: str) -> None:
    sys.stderr.write(f"millrace: {sentence}\n")


@contextmanager
def services(settings: Settings, notice: Notice = _to_stderr) -> Iterator[Settings]:
    """The settings with every address filled in; what was unset runs until the context ends.

    Raises `ServiceUnavailable` when a service cannot be had at all, `ConfigurationError` when the setting forbids it.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"MILLRACE_DATA_DIR: {settings.data_dir} cannot be made: {error.strerror}") from error
    update = {"database": settings.database_url}
    with ExitStack() as stack:
        if settings.redis is None:
            update["redis"] = stack.enter_context(running(_redis(settings))).address
        if settings.kafka is None:
            update["kafka"] = stack.enter_context(running(_broker(settings, notice))).address
        yield settings.model_copy(update=update)


def found(settings: Settings) -> list[Service]:
    """The embedded services that run on this data directory, by whomever they were started."""
    directories = (settings.data_dir / name for name in ("kafka", "tansu", "redis"))
    return [service for service in map(find, directories) if service is not None]


def attached(settings: Settings, parts: Sequence[str] = ("kafka", "redis")) -> Settings:
    """The settings with the addresses of services that run already, as far as they are needed; starts none.

    Raises `ConfigurationError` naming what is neither set nor running.
    """
    update = {"database": settings.database_url}
    for service in found(settings):
        update[service.part] = service.address
    for part in parts:
        given = getattr(settings, part)
        if given is not None:
            update[part] = given
        elif part not in update:
            raise ConfigurationError(
                f"MILLRACE_{part.upper()} is not set and none runs in {settings.data_dir}: "
                "set it, or start everything with `millrace up`"
            )
    return settings.model_copy(update=update)


def fetch_jars(settings: Settings, notice: Notice = _to_stderr) -> None:
    """Fetch Apache Kafka's jars unless they are there, with a progress bar. Raises `ServiceUnavailable`."""
    if jars.cached(settings):
        return
    size = sum(jar.size for jar in jars.jars())
    notice(f"fetching Apache Kafka {jars.kafka_version()} ({size / 1e6:.0f} MB, once)")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("jars", total=size)
        jars.fetch(settings, lambda _name, done, _total: progress.advance(task, done))


def prepare(settings: Settings, notice: Notice = _to_stderr) -> None:
    """All that a first start would do, and what makes later ones quick. Raises `ServiceUnavailable`."""
    java = jars.find_java()
    if java is None:
        raise ServiceUnavailable("kafka", f"there is no Java 17 or newer: run {_INSTALL}")
    fetch_jars(settings, notice)
    aot.train(java, jars.jar_directory(settings))


def _redis(settings: Settings) -> Recipe:
    binary = find_redis()
    if binary is None:
        raise ServiceUnavailable(
            "redis", f"there is no redis-server: install it, run {_INSTALL}, or set MILLRACE_REDIS"
        )
    return redis(settings.data_dir / "redis", binary)


def _broker(settings: Settings, notice: Notice) -> Recipe:
    """Apache Kafka; where that cannot be had and the setting allows it, Tansu, with a notice of what it cannot do."""
    if settings.broker == "tansu":
        return _tansu(settings, "MILLRACE_BROKER asks for it", notice)
    try:
        return _apache_kafka(settings, notice)
    except ServiceUnavailable as error:
        if settings.broker == "kafka":
            raise
        return _tansu(settings, str(error), notice)


def _apache_kafka(settings: Settings, notice: Notice) -> Recipe:
    java = jars.find_java()
    if java is None:
        raise ServiceUnavailable("kafka", f"there is no Java 17 or newer: run {_INSTALL}, or set MILLRACE_KAFKA")
    fetch_jars(settings, notice)
    where = jars.jar_directory(settings)
    return apache_kafka(settings.data_dir / "kafka", java, where, aot.options(java, where))


def _tansu(settings: Settings, reason: str, notice: Notice) -> Recipe:
    binary = find_tansu()
    if binary is None:
        raise ServiceUnavailable("kafka", f"neither Apache Kafka nor Tansu can be had ({reason}): set MILLRACE_KAFKA")
    recipe = tansu(settings.data_dir / "tansu", *binary)
    notice(f"the broker is Tansu {recipe.version}, not Apache Kafka ({reason}). {recipe.limits.capitalize()}.")
    return recipe
