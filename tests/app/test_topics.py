"""The comparison of the table with what a cluster has: pure."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from app.errors import TooFewBrokers, TopicMismatch
from app.settings import Settings
from app.topics import DEAD_LETTERS, PREDICTIONS, RIDES, TOPICS, Cluster, Found, missing, state_topic

STATE = state_topic("duration")


def settings(**update: object) -> Settings:
    return Settings.model_construct(**update)


def cluster(brokers: int = 1, **topics: Found) -> Cluster:
    return Cluster(brokers, {name.replace("_", "-"): found for name, found in topics.items()})


def test_an_empty_cluster_misses_all() -> None:
    assert missing(TOPICS, cluster(), settings()) == list(TOPICS)


def test_what_exists_as_it_should_is_not_missing() -> None:
    assert missing([RIDES, PREDICTIONS], cluster(rides=Found(4, 1)), settings()) == [PREDICTIONS]


def test_a_lone_topic_of_another_count_is_cured_by_the_setting() -> None:
    with pytest.raises(TopicMismatch) as caught:
        missing([RIDES, PREDICTIONS], cluster(rides=Found(6, 1), predictions=Found(6, 1)), settings())
    assert caught.value.topic == "rides"
    assert caught.value.remedy == "set MILLRACE_PARTITIONS=6"


def test_topics_that_disagree_with_each_other_are_not_cured_by_the_setting() -> None:
    with pytest.raises(TopicMismatch) as caught:
        missing([RIDES, PREDICTIONS], cluster(rides=Found(4, 1), predictions=Found(6, 1)), settings())
    assert caught.value.topic == "predictions"
    assert "MILLRACE_PARTITIONS" not in caught.value.remedy


def test_dead_letters_may_have_any_count() -> None:
    assert missing([DEAD_LETTERS], cluster(dead_letters=Found(1, 1)), settings()) == []


def test_fewer_replicas_than_wanted() -> None:
    with pytest.raises(TopicMismatch, match="1 replicas and MILLRACE_REPLICATION is 3"):
        missing([RIDES], cluster(3, rides=Found(4, 1)), settings(replication=3))


def test_more_replicas_than_brokers() -> None:
    with pytest.raises(TooFewBrokers, match="2 brokers are up, and MILLRACE_REPLICATION=3 takes 3"):
        missing([RIDES], cluster(2), settings(replication=3))


@pytest.mark.parametrize(
    ("config", "problem"),
    [({"cleanup.policy": "delete"}, "cleanup.policy is delete"), ({"max.message.bytes": "1048588"}, "too small")],
)
def test_a_state_topic_that_would_lose_snapshots(config: Mapping[str, str], problem: str) -> None:
    sound = Found(4, 1, STATE.configuration)
    there = Cluster(1, {STATE.name: sound})
    assert missing([STATE], there, settings()) == []
    with pytest.raises(TopicMismatch, match=problem):
        missing([STATE], Cluster(1, {STATE.name: replace(sound, config={**sound.config, **config})}), settings())
