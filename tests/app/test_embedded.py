"""The embedded services as processes: who owns them, who shares them, what ends them. On Redis, the quickest to start;
what holds for its process holds for every one (tests/app/services/test_kafka.py looks at what the broker adds)."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import redis

from app import embedded
from app.errors import ConfigurationError, ServiceUnavailable
from app.services.process import Recipe, running
from app.settings import Settings

OWNER = """
import sys
from pathlib import Path
from app import embedded
from app.settings import Settings

with embedded.services(Settings.model_construct(kafka="elsewhere:9092", data_dir=Path(sys.argv[1]))):
    print("ready", flush=True)
    sys.stdin.read()
"""


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def gone(*pids: int | None) -> bool:
    return not any(
        pid and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids
    )


@pytest.fixture
def only_redis(tmp_path: Path) -> Settings:
    return Settings.model_construct(kafka="elsewhere:9092", data_dir=tmp_path / "data")


@pytest.fixture
def owner(only_redis: Settings) -> Iterator[subprocess.Popen[str]]:
    """Another process that has started the services."""
    command = [sys.executable, "-c", OWNER, str(only_redis.data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def client(settings: Settings) -> redis.Redis:
    assert settings.redis is not None
    return redis.Redis.from_url(settings.redis, decode_responses=True)


def test_a_restart_keeps_what_was_written_and_leaves_no_process(only_redis: Settings) -> None:
    with embedded.services(only_redis) as resolved:
        [service] = embedded.found(only_redis)
        assert resolved.redis == service.address
        assert resolved.kafka == "elsewhere:9092"
        assert resolved.database == only_redis.database_url
        client(resolved).set("ride", "r1")
    assert gone(service.pid, service.guard)
    assert embedded.found(only_redis) == []
    with embedded.services(only_redis) as again:
        assert again.redis == resolved.redis
        assert client(again).get("ride") == "r1"


def test_a_second_process_shares_the_running_service(only_redis: Settings, owner: subprocess.Popen[str]) -> None:
    [before] = embedded.found(only_redis)
    with embedded.services(only_redis) as resolved:
        assert embedded.found(only_redis) == [before]
        client(resolved).ping()
    assert embedded.found(only_redis) == [before]
    assert embedded.attached(only_redis).redis == before.address


def test_a_killed_owner_leaves_no_process(only_redis: Settings, owner: subprocess.Popen[str]) -> None:
    [service] = embedded.found(only_redis)
    pids = service.pid, service.guard
    assert not gone(*pids)
    owner.kill()
    eventually(lambda: gone(*pids))
    with embedded.services(only_redis) as resolved:
        client(resolved).ping()


def test_a_killed_guard_takes_its_service_along(only_redis: Settings, owner: subprocess.Popen[str]) -> None:
    [service] = embedded.found(only_redis)
    pid = service.pid
    os.kill(service.guard, signal.SIGKILL)
    eventually(lambda: gone(pid))
    eventually(lambda: embedded.found(only_redis) == [])  # its last thread lets go of the lock


def test_a_killed_service_is_started_again(only_redis: Settings) -> None:
    with embedded.services(only_redis) as resolved:
        [service] = embedded.found(only_redis)
        client(resolved).set("ride", "r1")
        killed = service.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: service.pid not in (None, killed))
        retrying = client(resolved)
        eventually(lambda: _reads(retrying, "ride") == "r1")


def _reads(connection: redis.Redis, key: str) -> str | None:
    try:
        return connection.get(key)
    except redis.ConnectionError:
        return None


def test_the_thread_that_started_it_may_end(only_redis: Settings) -> None:
    """A death signal is tied to the thread that forked: the service must not go when that thread does."""
    with ExitStack() as stack:
        thread = threading.Thread(target=lambda: stack.enter_context(embedded.services(only_redis)))
        thread.start()
        thread.join()
        [service] = embedded.found(only_redis)
        with pytest.raises(psutil.TimeoutExpired):
            psutil.Process(service.guard).wait(0.6)  # longer than the guard needs to notice
        client(embedded.attached(only_redis)).ping()


def test_a_data_directory_with_a_long_name_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    settings = Settings.model_construct(kafka="elsewhere:9092", data_dir=tmp_path / ("long-" * 30))
    with embedded.services(settings) as resolved:
        client(resolved).ping()


def test_attached_names_what_is_neither_set_nor_running(only_redis: Settings) -> None:
    with pytest.raises(ConfigurationError, match="MILLRACE_REDIS"):
        embedded.attached(only_redis)


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings.model_construct(data_dir=tmp_path / "file" / "data")
    with pytest.raises(ConfigurationError, match=r"MILLRACE_DATA_DIR: .*Not a directory"), embedded.services(settings):
        pass


def test_a_service_that_will_not_start_is_reported_with_its_log(only_redis: Settings) -> None:
    (only_redis.data_dir / "redis").mkdir(parents=True)
    (only_redis.data_dir / "redis" / "appendonly.aof").write_bytes(b"not what Redis writes\r\n")
    with pytest.raises(ServiceUnavailable, match=r"redis\.log ends: .*"), embedded.services(only_redis):
        pass
    assert embedded.found(only_redis) == []


def test_a_program_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    command = ["/no/such/program"], "nowhere"
    recipe = Recipe("redis", "Nothing", "0", tmp_path / "none", prepare=lambda: command, ready=lambda _: False)
    with pytest.raises(ServiceUnavailable, match=r"/no/such/program: .*No such file"), running(recipe):
        pass
