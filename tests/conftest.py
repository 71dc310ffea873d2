"""What every test may ask for: a real broker and a real Redis (started once, and only if asked for), settings, data.

Containers where a Docker daemon answers, else the embedded services; the end of the run says which it met. Figures about
loss count only on Apache Kafka.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException
from hypothesis import HealthCheck
from hypothesis import settings as properties
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

from app import embedded
from app.services.process import free_port
from app.settings import Settings
from tests.postgres import database, postgres

__all__ = ["database", "postgres"]

MET = pytest.StashKey[list[str]]()
KAFKA_IMAGE, REDIS_IMAGE = "apache/kafka:4.1.1", "redis:7-alpine"


# No property is about time: on a machine that others use, too, an example may take any.
properties.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
properties.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MET] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[MET] or ["no service was needed"]:
        terminalreporter.write_line(f"services: {line}")


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings with a real broker and a real Redis filled in, shared by the whole run.

    MILLRACE_TEST_KAFKA and MILLRACE_TEST_REDIS name services that run already; the other MILLRACE_ variables and a
    `.env` are the developer's and are not read.
    """
    met = request.config.stash[MET]
    # Not under pytest's own tmp_path: a unix socket's path may not exceed some 100 characters.
    with tempfile.TemporaryDirectory(prefix="millrace-") as directory, ExitStack() as stack:
        given = Settings.model_construct(  # unlike Settings(), it reads no environment
            kafka=os.environ.get("MILLRACE_TEST_KAFKA"),
            redis=os.environ.get("MILLRACE_TEST_REDIS"),
            data_dir=Path(directory),
        )
        if _docker_answers():
            given = stack.enter_context(_containers(given))
        resolved = stack.enter_context(embedded.services(given))
        met += [str(service) for service in embedded.found(given)]
        met += [
            f"{part} at {getattr(resolved, part)}" for part in ("kafka", "redis") if getattr(given, part) is not None
        ]
        yield resolved


@pytest.fixture
def settings(services: Settings, tmp_path: Path) -> Settings:
    """The shared services, and a database and a data directory of the test's own."""
    return services.model_copy(
        update={"database": f"sqlite:///{tmp_path / 'millrace.db'}", "data_dir": tmp_path / "data"}
    )


@pytest.fixture
def namespace() -> str:
    """A short name no other test has: put it into topics, groups, users and ids, for the broker is shared."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The directory of the real data (MILLRACE_DATASETS); the test is skipped where there is none."""
    named = os.environ.get("MILLRACE_DATASETS")
    if not named:
        pytest.skip("MILLRACE_DATASETS names no directory of training data")
    path = Path(named)
    if not path.is_dir():
        pytest.fail(f"MILLRACE_DATASETS: {path} is not a directory")
    return path


def _docker_answers() -> bool:
    try:
        docker.from_env(timeout=2).ping()
    except DockerException:
        return False
    return True


@contextmanager
def _containers(settings: Settings) -> Iterator[Settings]:
    """Fill what is unset from containers of the images docker-compose.yml uses."""
    with ExitStack() as stack:
        update: dict[str, str] = {}
        if settings.kafka is None:
            update["kafka"] = stack.enter_context(_kafka_container())
        if settings.redis is None:
            redis = stack.enter_context(DockerContainer(REDIS_IMAGE).with_exposed_ports(6379))
            wait_for_logs(redis, "Ready to accept connections", timeout=60)
            update["redis"] = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
        yield settings.model_copy(update=update)


@contextmanager
def _kafka_container() -> Iterator[str]:
    """One node of the image, on a port chosen beforehand, for it has to advertise that port."""
    port = free_port()
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in environment.items():
        container = container.with_env(name, value)
    with container as kafka:
        wait_for_logs(kafka, "Kafka Server started", timeout=120)
        yield f"127.0.0.1:{port}"
