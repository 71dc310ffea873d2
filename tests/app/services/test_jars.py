"""The cache of jars: complete and unaltered, or not used."""

import os
import shutil
from pathlib import Path

import pytest

from app.services.jars import cached, find_java, jar_directory, jars, kafka_version
from app.settings import Settings


@pytest.fixture
def copy(tmp_path: Path) -> Settings:
    """A cache of the test's own, linked from the user's."""
    mine, users = Settings.model_construct(cache_dir=tmp_path), Settings.model_construct()
    if not cached(users):
        pytest.skip("the jars are not cached on this machine: millrace doctor --fetch")
    shutil.copytree(jar_directory(users), jar_directory(mine), copy_function=os.link)
    return mine


def test_the_list_is_one_version_of_kafka_throughout() -> None:
    versions = {jar.coordinates.split(":")[2] for jar in jars() if jar.coordinates.startswith("org.apache.kafka:")}
    assert versions == {kafka_version()}
    assert len({jar.file for jar in jars()}) == len(jars())


def test_a_whole_cache_is_used(copy: Settings) -> None:
    assert cached(copy)


def test_an_altered_jar_is_not_used(copy: Settings) -> None:
    altered = jar_directory(copy) / jars()[0].file
    content = altered.read_bytes()
    altered.unlink()
    altered.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not cached(copy)


def test_a_missing_jar_is_noticed(copy: Settings) -> None:
    (jar_directory(copy) / jars()[-1].file).unlink()
    assert not cached(copy)


def test_there_is_a_java() -> None:
    java = find_java()
    assert java is not None
    assert os.access(java, os.X_OK)
