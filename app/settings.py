"""Settings: read once at the entry point, frozen, and passed down. What is unset is embedded."""

import re
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict

from app.errors import ConfigurationError


def _seconds(given: object, read: ValidatorFunctionWrapHandler) -> timedelta:
    """A number alone is seconds, which pydantic takes from Python and not from the environment."""
    with suppress(ValueError, OverflowError):
        if isinstance(given, str):
            return timedelta(seconds=float(given))
    try:
        read_so: timedelta = read(given)
    except ValidationError as error:
        raise PydanticCustomError("duration", "must be seconds, or ISO 8601 such as PT0.5S") from error
    return read_so


def _between(least_s: float = 0, most_s: float = 100 * 365 * 86_400) -> AfterValidator:
    """These bounds; a hundred years where no other is known, for a date less that is still a date."""

    def check(given: timedelta) -> timedelta:
        if given.total_seconds() < least_s:
            raise PydanticCustomError("too_short", f"must be at least {least_s:g} s")
        if given.total_seconds() > most_s:
            raise PydanticCustomError("too_long", f"must be at most {most_s:,.0f} s")
        return given

    return AfterValidator(check)


def _addresses(given: str) -> str:
    """Of brokers, without the blanks between them."""
    addresses = [address.strip() for address in given.split(",")]
    found = [_ADDRESS.fullmatch(address) for address in addresses]
    if not all(each and int(each["port"] or 0) <= _HIGHEST_PORT for each in found):
        raise PydanticCustomError("brokers", "must be host:port[,host:port]")
    return ",".join(addresses)


def _redis_url(given: str) -> str:
    if not given.startswith(_REDIS_SCHEMES):
        raise PydanticCustomError("redis_url", f"must begin with {' or '.join(_REDIS_SCHEMES)}")
    return given


_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?")
_HIGHEST_PORT = 65535
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

Duration = Annotated[timedelta, WrapValidator(_seconds)]
Brokers = Annotated[str, AfterValidator(_addresses)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(lambda given: str(given).upper())
]

_ANSWERED_S = 0.1
"""What is given less time would go without its models: at the 99th percentile a figure takes 60 ms (`docs/figures.md`)."""

_ASKED_S = 30
"""The longest any answer is waited for (`app.asking.requests.MAX_WITHIN_S`)."""

_COMMITTED_S = 0.01
"""A commit is a request to the broker and takes some milliseconds."""

_SESSION_S, _LONGEST_SESSION_S = 1, 30 * 60
"""What the embedded broker takes at the least, and any broker at the most (group.max.session.timeout.ms)."""

_KEPT_S = 60
"""The store is looked through once a minute, and a decision takes some seconds to be made and pushed."""

_ALIKE = 0.8
"""About one letter in five may be wrong; the two settings that are the most alike are at 0.75."""

_STUCK_S = 10
"""A model that hangs holds its batch for `score_timeout`, which is no reason to leave."""


class Settings(BaseSettings):
    """The environment (prefix `MILLRACE_`) or a `.env` file."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", env_file=".env", frozen=True, extra="ignore")

    kafka: Brokers | None = Field(None, description="brokers, host:port[,host:port]; unset: embedded Apache Kafka")
    redis: RedisUrl | None = Field(None, description="redis:// or unix:// url; unset: embedded")
    broker: Literal["auto", "kafka", "tansu"] = Field(
        "auto", description="which broker is embedded; auto: Apache Kafka, or Tansu where its jars cannot be had"
    )
    database: str | None = Field(None, description="SQLAlchemy url; unset: SQLite in the data directory")
    customers: str | None = Field(
        None, description="SQLAlchemy url of the customers' history; unset: SQLite in the data directory"
    )
    registry: str | None = Field(
        None, description="model registry directory; unset: the models that ship with Millrace"
    )
    host: str = Field("127.0.0.1", description="address the gateway listens on")
    port: Annotated[int, Field(ge=0, le=_HIGHEST_PORT)] = 8000
    auth_secret: SecretStr | None = Field(None, description="HS256 key of the access tokens, 32 characters or more")

    demo: bool = Field(
        False, description="the gateway hands out tokens to whoever asks; never where others can reach it"
    )
    origins: str = Field("", description="web origins, comma-separated, that may open the live channel besides our own")

    data_dir: Path = Field(Path(".millrace"), description="where the embedded parts keep their data")
    cache_dir: Path | None = Field(None, description="where fetched jars are cached; unset: the user's cache directory")
    datasets: Path | None = Field(None, description="directory of the training data; needed to train, not to run")
    partitions: Annotated[int, Field(ge=1, le=1024)] = 4
    replication: Annotated[int, Field(ge=1, le=5)] = 1
    log_level: LogLevel = "WARNING"
    metrics_port: Annotated[int, Field(ge=1, le=_HIGHEST_PORT)] | None = Field(
        None, description="where a worker tells Prometheus its counters; taken: the next free one; unset: nowhere"
    )

    ride_deadline: Annotated[Duration, _between(_ANSWERED_S)] = Field(
        timedelta(seconds=2), description="a ride is decided this long after its request"
    )
    upload_deadline: Annotated[Duration, _between(_ANSWERED_S)] = Field(
        timedelta(seconds=5), description="an upload is decided this long after it came"
    )
    chargeback_usd: Annotated[float, Field(ge=0, le=1e6)] = Field(
        25.0, description="what a chargeback costs the bank besides the amount; fees of $15 to $50 are usual"
    )
    review_usd: Annotated[float, Field(ge=0, le=1e6)] = Field(
        5.0, description="what it costs that a person looks at a transaction: some ten minutes"
    )
    block_usd: Annotated[float, Field(ge=0, le=1e6)] = Field(
        50.0, description="what it costs to block an honest customer's transaction; an assumption, state your own"
    )
    keep_allowed: Annotated[int, Field(ge=0)] = Field(
        100,
        description="allowed transactions a second that the store keeps, per worker; beyond, only the topic has them",
    )
    first_estimate: Annotated[Duration, _between(most_s=_ASKED_S)] = Field(
        timedelta(milliseconds=150),
        description="how long POST /v1/rides may wait for a first estimate; 0: none is asked",
    )
    within: Annotated[Duration, _between()] | None = Field(
        None,
        description="seconds that an agent which waits for fuller batches (fraud: 1) waits; 0: answers at once",
    )
    commit_interval: Annotated[Duration, _between(_COMMITTED_S)] = Field(
        timedelta(seconds=1),
        description="how often offsets are committed; bounds the duplicates after a kill",
    )
    store_retention: Annotated[Duration, _between(_KEPT_S)] = Field(
        timedelta(days=2), description="how long the store keeps predictions and decisions; Kafka keeps its own"
    )
    session_timeout: Annotated[Duration, _between(_SESSION_S, _LONGEST_SESSION_S)] = Field(
        timedelta(seconds=6), description="how long a worker that died keeps its partitions; Kafka's own minimum is 6 s"
    )
    score_timeout: Annotated[Duration, _between(_ANSWERED_S)] = Field(
        timedelta(seconds=5), description="a model that takes longer for a batch is hanging"
    )
    stuck_after: Annotated[Duration, _between(_STUCK_S)] = Field(
        timedelta(seconds=60), description="lag with no progress for this long exits the worker"
    )

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{(self.data_dir / 'millrace.db').resolve()}"

    @property
    def customers_url(self) -> str:
        return self.customers or f"sqlite:///{(self.data_dir / 'customers.db').resolve()}"


def read_settings(**overrides: object) -> Settings:
    """Read the settings once; a bad one is a `ConfigurationError` that names its variable, as is one whose name is misspelt."""
    _refuse_misspelt()
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic validates what the caller overrides
    except ValidationError as error:
        first = error.errors()[0]
        name = "MILLRACE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']}") from error


def _refuse_misspelt() -> None:
    """Of a variable that is nearly a setting, for an embedded broker would start where `MILLRACE_KAFAK` names another.

    Other unknown ones are let be: they may be of a newer version, or somebody else's.
    """
    prefix, known = str(Settings.model_config["env_prefix"]), Settings.model_fields.keys()
    for source in (EnvSettingsSource(Settings), DotEnvSettingsSource(Settings)):
        for variable in source.env_vars:
            name = variable.removeprefix(prefix.lower())
            if name == variable or name in known:
                continue
            if meant := get_close_matches(name, known, n=1, cutoff=_ALIKE):
                raise ConfigurationError(
                    f"{prefix}{name.upper()} is no setting; did you mean {prefix}{meant[0].upper()}?"
                )
