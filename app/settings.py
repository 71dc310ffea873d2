"""Settings: read once at the entry point, frozen, and passed down. What is unset is embedded."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import ConfigurationError


def _seconds(given: object) -> object:
    """A number alone is seconds, which pydantic takes from Python and not from the environment."""
    try:
        return timedelta(seconds=float(given)) if isinstance(given, str) else given
    except (ValueError, OverflowError):
        return given


Duration = Annotated[timedelta, BeforeValidator(_seconds)]


class Settings(BaseSettings):
    """The environment (prefix `MILLRACE_`) or a `.env` file."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", env_file=".env", frozen=True, extra="ignore")

    kafka: str | None = Field(None, description="brokers, host:port[,host:port]; unset: embedded Apache Kafka")
    redis: str | None = Field(None, description="redis:// or unix:// url; unset: embedded")
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
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
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
    log_level: str = "WARNING"

    ride_deadline: Duration = Field(timedelta(seconds=2), description="a ride is decided this long after its request")
    upload_deadline: Duration = Field(timedelta(seconds=5), description="an upload is decided this long after it came")
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
    first_estimate: Duration = Field(
        timedelta(milliseconds=150),
        ge=timedelta(0),
        le=timedelta(seconds=30),  # the longest any answer is waited for (`app.asking.requests.MAX_WITHIN_S`)
        description="how long POST /v1/rides may wait for a first estimate; 0: none is asked",
    )
    within: Duration | None = Field(
        None,
        ge=timedelta(0),
        description="seconds that an agent which waits for fuller batches (fraud: 1) waits; 0: answers at once",
    )
    commit_interval: Duration = Field(
        timedelta(milliseconds=250),
        description="how often offsets are committed; bounds the duplicates after a kill",
    )
    store_retention: Duration = Field(
        timedelta(days=2), description="how long the store keeps predictions and decisions; Kafka keeps its own"
    )
    session_timeout: Duration = Field(
        timedelta(seconds=6), description="how long a worker that died keeps its partitions; Kafka's own minimum is 6 s"
    )
    score_timeout: Duration = Field(
        timedelta(seconds=5), description="a model that takes longer for a batch is hanging"
    )
    stuck_after: Duration = Field(
        timedelta(seconds=60), description="lag with no progress for this long exits the worker"
    )

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{(self.data_dir / 'millrace.db').resolve()}"

    @property
    def customers_url(self) -> str:
        return self.customers or f"sqlite:///{(self.data_dir / 'customers.db').resolve()}"


def read_settings(**overrides: object) -> Settings:
    """Read the settings once; a bad one is a `ConfigurationError` that names its variable."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic validates what the caller overrides
    except ValidationError as error:
        first = error.errors()[0]
        name = "MILLRACE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']}") from error
