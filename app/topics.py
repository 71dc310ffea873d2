"""THE table of topics: what lives where, keyed by what, kept how long, and what an existing one must be like.

Pure; `app.topic_admin` creates and checks them on the brokers at start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, get_args

from app.asking.requests import MAX_REPLY_BYTES, Reply, Request
from app.decisions import Decision, DecisionBatch
from app.errors import TooFewBrokers, TopicMismatch
from app.events import AnyRide, AnyUpload, Event, FraudReported, Kind, RideEvent, Source, TransactionMade
from app.predictions import Prediction, PredictionBatch
from app.settings import Settings


@dataclass(frozen=True)
class Topic:
    """One row of the table.

    Attributes:
        messages: the union of message types it carries; `None` for bytes we do not interpret.
        key: the field that is the Kafka key.
        copartitioned: shares its partition count with every other such topic, so that one decision worker owns the
            same users on all of them.
        partitions: its own count, where that is not the settings'.
        config: Kafka's own topic settings besides retention and cleanup.
    """

    name: str
    messages: object
    key: str
    retention: timedelta
    cleanup: Literal["delete", "compact"] = "delete"
    copartitioned: bool = True
    partitions: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def configuration(self) -> dict[str, str]:
        """What the topic is created with, as Kafka names it."""
        kept = {} if self.cleanup == "compact" else {"retention.ms": f"{self.retention.total_seconds() * 1000:.0f}"}
        return {"cleanup.policy": self.cleanup, **kept, **self.config}


MAX_PREDICTION_BYTES = 1 << 20
"""Kafka's own default, as a round figure. Written down, for what is larger has to become a dead letter."""

RIDES = Topic("rides", AnyRide, "user_id", timedelta(days=7))
UPLOADS = Topic("uploads", AnyUpload, "user_id", timedelta(days=7))
TRANSACTIONS: Mapping[Source, Topic] = {
    source: Topic(f"transactions.{source}", TransactionMade, "card_id", timedelta(days=7))
    for source in get_args(Source)
}
CHARGEBACKS = Topic("chargebacks", FraudReported, "card_id", timedelta(days=30))
"""Apart from the transactions, so that whoever counts what came out need not read 65,000 a second to find them."""

PREDICTIONS = Topic(
    "predictions",
    Prediction,
    "key of the event",
    timedelta(days=7),
    config={"max.message.bytes": str(MAX_PREDICTION_BYTES)},
)
CARD_PREDICTIONS = replace(
    PREDICTIONS, name="predictions.transactions", messages=PredictionBatch, key="none: on the partition of its events"
)
"""Apart from the others (docs/decisions/0006): the join of rides must not wait behind 65,000 a second; and in columns (0007)."""

DECISIONS = Topic("decisions", Decision, "key of the event", timedelta(days=30))
"""Those of card transactions only as far as the store keeps them too; all of them are on `CARD_DECISIONS`."""

CARD_DECISIONS = Topic(
    "decisions.transactions",
    DecisionBatch,
    CARD_PREDICTIONS.key,
    timedelta(days=30),
    config={"max.message.bytes": str(MAX_PREDICTION_BYTES)},  # each record is smaller than what it decides
)
ALERTS = Topic("alerts", Decision, "card_id", timedelta(days=30))
"""The decisions to hold a transaction, once more: for whoever calls the card holder or works the reviews off."""
DEAD_LETTERS = Topic(
    "dead-letters",
    None,
    "key of the record",
    timedelta(days=30),
    copartitioned=False,
    config={"max.message.bytes": str(20 * 1024 * 1024)},  # the largest record of any topic, and why it came here
)

_PASSING = {"segment.ms": "600000", "retention.bytes": str(64 << 20), "segment.bytes": str(16 << 20)}
"""A question is worth nothing after seconds; what is kept is for whoever wants to see what was asked just now."""

REPLIES = Topic(
    "replies",
    Reply,
    "none: the asker names the partition",
    timedelta(minutes=10),
    copartitioned=False,
    partitions=16,  # more than there will be gateways; those beyond would share
    config={**_PASSING, "max.message.bytes": str(MAX_REPLY_BYTES)},
)

REPLAYED = Topic(
    "predictions.replay",
    Prediction,
    "user_id",
    timedelta(days=7),
    config={"max.message.bytes": str(MAX_PREDICTION_BYTES)},
)
"""What a replay says; nobody here reads it, and it is created by the first replay that writes to it."""

EVENTS = (RIDES, UPLOADS, *TRANSACTIONS.values(), CHARGEBACKS)
TOPICS = (*EVENTS, PREDICTIONS, CARD_PREDICTIONS, DECISIONS, CARD_DECISIONS, ALERTS, DEAD_LETTERS, REPLIES)


def topic_of(event: Event) -> Topic:
    """Where an event belongs."""
    if isinstance(event, TransactionMade):
        return TRANSACTIONS[event.source]
    if isinstance(event, FraudReported):
        return CHARGEBACKS
    return RIDES if isinstance(event, RideEvent) else UPLOADS


def predictions_of(kind: Kind) -> Topic:
    """Where the predictions on subjects of this kind belong."""
    return CARD_PREDICTIONS if kind == "transaction" else PREDICTIONS


MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024
_STATE_CONFIG = {
    "max.message.bytes": str(MAX_SNAPSHOT_BYTES),
    # Of snapshots, one every ten seconds, only the last counts: without these a gigabyte would pile up per partition.
    "segment.bytes": str(4 * MAX_SNAPSHOT_BYTES),
    "min.cleanable.dirty.ratio": "0.1",
}


def state_topic(agent: str) -> Topic:
    """The snapshots of a stateful agent: partition i of this topic holds those of partition i of its input."""
    return Topic(f"state.{agent}", None, "partition", timedelta(days=3650), cleanup="compact", config=_STATE_CONFIG)


def request_topic(agent: str) -> Topic:
    """The synchronous questions to an agent, see `app.asking.requests`."""
    return Topic(f"requests.{agent}", Request, "none", timedelta(minutes=10), copartitioned=False, config=_PASSING)


def agent_topics(agent: str, *, stateful: bool) -> list[Topic]:
    """The topics that exist for one agent alone."""
    return [request_topic(agent), *([state_topic(agent)] if stateful else [])]


@dataclass(frozen=True)
class Found:
    """A topic as the broker has it.

    Attributes:
        replication: of the partition that has the fewest replicas.
        config: what the broker says of its configuration; empty where it was not asked.
    """

    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """What there is: how many brokers, and which topics."""

    brokers: int
    topics: Mapping[str, Found]


def missing(wanted: Iterable[Topic], cluster: Cluster, settings: Settings) -> list[Topic]:
    """Those of the table the cluster does not have yet.

    Raises `TopicMismatch` for the first that exists in a shape that would lose data or hang a worker, and `TooFewBrokers`
    when those that are absent could not be created now.
    """
    absent = []
    for topic in wanted:
        found = cluster.topics.get(topic.name)
        if found is None:
            absent.append(topic)
        else:
            _check(topic, found, cluster, settings)
    if absent and settings.replication > cluster.brokers:
        raise TooFewBrokers(settings.replication, cluster.brokers)
    return absent


def _check(topic: Topic, found: Found, cluster: Cluster, settings: Settings) -> None:
    if topic.copartitioned and found.partitions != settings.partitions:
        raise TopicMismatch(
            topic.name,
            f"it has {found.partitions} partitions and MILLRACE_PARTITIONS is {settings.partitions}, so its workers "
            "would not own the same users as the others",
            _repartition(found.partitions, cluster),
        )
    if topic.partitions is not None and found.partitions < topic.partitions:
        raise TopicMismatch(
            topic.name,
            f"it has {found.partitions} partitions and needs {topic.partitions}",
            f"add some: kafka-topics.sh --alter --topic {topic.name} --partitions {topic.partitions}",
        )
    if found.replication < settings.replication:
        raise TopicMismatch(
            topic.name,
            f"it has {found.replication} replicas and MILLRACE_REPLICATION is {settings.replication}",
            "add replicas (kafka-reassign-partitions.sh), or lower the setting",
        )
    policy = found.config.get("cleanup.policy", topic.cleanup)
    if policy != topic.cleanup:
        raise TopicMismatch(
            topic.name, f"its cleanup.policy is {policy}", f"set it to {topic.cleanup} (kafka-configs.sh)"
        )
    largest = topic.config.get("max.message.bytes", "0")
    if int(found.config.get("max.message.bytes", largest)) < int(largest):
        raise TopicMismatch(topic.name, "its max.message.bytes is too small", f"set it to {largest} (kafka-configs.sh)")


def _repartition(partitions: int, cluster: Cluster) -> str:
    """The remedy: if all of the table's topics agree, the setting is what is wrong."""
    others = {
        cluster.topics[topic.name].partitions
        for topic in TOPICS
        if topic.copartitioned and topic.name in cluster.topics
    }
    if others <= {partitions}:
        return f"set MILLRACE_PARTITIONS={partitions}"
    return "delete it and let it be created anew, or choose other brokers: keys would move between partitions otherwise"
