"""What the embedded broker adds to being a process: records that outlive it, its address, loopback only, Tansu instead."""

import os
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app import embedded
from app.errors import ServiceUnavailable
from app.services.kafka import _ports, answers, find_tansu
from app.services.process import free_port
from app.settings import Settings
from app.topic_admin import describe, ensure

RECORDS = [f"ride {number}".encode() for number in range(100)]


async def produce(settings: Settings, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all") as producer:
        for value in values:
            await producer.send_and_wait("rides", value, partition=0)


async def consume(settings: Settings) -> list[bytes]:
    """All of partition 0 of the topic, from its beginning to its end."""
    partition = TopicPartition("rides", 0)
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka, auto_offset_reset="earliest") as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes] = []
        while await consumer.position(partition) < end:
            fetched = await consumer.getmany(timeout_ms=5000)
            values += [record.value for records in fetched.values() for record in records]
        return values


def listening(service: embedded.Service) -> set[str]:
    """The addresses the service listens on."""
    connections = psutil.Process(service.pid).net_connections("inet")
    return {connection.laddr.ip.removeprefix("::ffff:") for connection in connections if connection.status == "LISTEN"}


@pytest.fixture
def own(services: Settings, tmp_path: Path) -> Settings:
    """A broker of the test's own; the Redis is the shared one."""
    return Settings.model_construct(redis=services.redis, data_dir=tmp_path / "data", broker="kafka", partitions=1)


async def test_records_survive_a_kill_and_a_restart_even_on_other_ports(own: Settings) -> None:
    with embedded.services(own) as resolved:
        [service] = embedded.found(own)
        assert listening(service) == {"127.0.0.1"}
        await ensure(resolved)
        await produce(resolved, RECORDS[:50])
        killed = service.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        await ensure(resolved)  # waits until the guard has brought it back
        assert service.pid != killed
        assert await consume(resolved) == RECORDS[:50]
        await produce(resolved, RECORDS[50:])
    host, _, port = service.address.rpartition(":")
    with socket.create_server((host, int(port))), embedded.services(own) as moved:
        assert moved.kafka != service.address
        assert await consume(moved) == RECORDS


async def test_a_broker_answers(services: Settings) -> None:
    assert services.kafka
    assert answers(services.kafka)
    assert (await describe(services)).brokers == 1


def test_nobody_there_is_no_answer() -> None:
    assert not answers(f"127.0.0.1:{free_port()}")


def test_an_open_port_that_says_nothing_useful_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        hang_up = threading.Thread(target=lambda: server.accept()[0].close())
        hang_up.start()
        assert not answers(f"127.0.0.1:{server.getsockname()[1]}")
        hang_up.join()


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, services: Settings) -> Settings:
    """No jars in the cache, and a proxy where nobody listens."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return Settings.model_construct(redis=services.redis, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


@pytest.mark.skipif(find_tansu() is None, reason="the wheel has no Tansu for this platform")
async def test_without_the_jars_it_is_tansu_and_says_what_that_cannot_do(without_network: Settings) -> None:
    said: list[str] = []
    with embedded.services(without_network, said.append) as resolved:
        [service] = embedded.found(without_network)
        assert service.name == "Tansu"
        assert listening(service) == {"127.0.0.1"}
        await ensure(resolved)
        await produce(resolved, RECORDS)
        assert await consume(resolved) == RECORDS
    assert "loses everything" in said[-1]


def test_without_the_jars_a_setting_that_insists_on_kafka_is_an_error(without_network: Settings) -> None:
    insists = without_network.model_copy(update={"broker": "kafka"})
    with pytest.raises(ServiceUnavailable, match="cannot be fetched"), embedded.services(insists, lambda _: None):
        pass


@pytest.mark.parametrize("kept", [None, "", "[20001]", "20001", "[1, 2, 3]", '["a", "b"]'])
def test_where_no_two_ports_are_kept_free_ones_are_taken_and_kept(tmp_path: Path, kept: str | None) -> None:
    record = tmp_path / "ports.json"
    if kept is not None:
        record.write_text(kept)
    assert _ports(record) == _ports(record)
