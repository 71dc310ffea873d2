"""`app.registry`: what is registered is what is loaded, and nothing else is."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.errors import ArtifactError, ConfigurationError
from app.registry import CHAMPION, Registry, open_registry, shipped_root
from app.settings import Settings
from training.recipe import npz


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def register(registry: Registry, content: bytes = b"tree") -> str:
    return registry.register("tip", {"model.txt": content}, {"model": "tip", "seed": 1}, "# tip\n")


def test_what_is_registered_is_loaded(registry: Registry) -> None:
    version = register(registry)
    artifact = registry.load("tip")
    assert (artifact.name, artifact.version) == ("tip", version)
    assert artifact.path("model.txt").read_bytes() == b"tree"
    assert artifact.manifest == {"model": "tip", "seed": 1}
    assert artifact.card() == "# tip\n"
    assert registry.names() == ["tip"]


def test_versions_count_up_and_the_first_is_champion_until_another_is_promoted(registry: Registry) -> None:
    assert [register(registry, content) for content in (b"a", b"b", b"c")] == ["1", "2", "3"]
    assert registry.load("tip").version == "1"
    registry.promote("tip", "3")
    registry.promote("tip", "2", "challenger")
    assert registry.load("tip").version == "3"
    assert registry.load("tip", "challenger").path("model.txt").read_bytes() == b"b"
    assert registry.load("tip", CHAMPION).version == "3"


@pytest.mark.parametrize("alias", ["1", "2", "7", "", "a b", "../x"])
def test_an_alias_that_could_hide_a_version_is_refused(registry: Registry, alias: str) -> None:
    register(registry, b"a")
    register(registry, b"b")
    with pytest.raises(ConfigurationError, match="an alias is a word"):
        registry.promote("tip", "2", alias)
    assert registry.load("tip", "1").path("model.txt").read_bytes() == b"a"


def test_the_same_bytes_again_are_the_same_version(registry: Registry) -> None:
    assert register(registry) == register(registry) == "1"


def test_an_altered_file_is_not_loaded_and_is_named(registry: Registry) -> None:
    register(registry)
    (registry.root / "tip" / "1" / "model.txt").write_bytes(b"tampered")
    with pytest.raises(ArtifactError, match=r"model\.txt differs"):
        registry.load("tip")


def test_a_file_that_was_laid_beside_the_recorded_ones_is_not_read(registry: Registry) -> None:
    register(registry)
    (registry.root / "tip" / "1" / "enroute.txt").write_bytes(b"tree")
    with pytest.raises(ArtifactError, match=r"no file enroute\.txt"):
        registry.load("tip").path("enroute.txt")


def test_versions_registered_at_the_same_time_are_all_kept(registry: Registry) -> None:
    contents = [bytes([n]) for n in range(16)]
    with ThreadPoolExecutor(len(contents)) as threads:
        versions = list(threads.map(lambda content: register(Registry(registry.root), content), contents))
    assert sorted(versions, key=int) == [str(n) for n in range(1, 17)]
    assert [registry.load("tip", version).path("model.txt").read_bytes() for version in versions] == contents


def test_a_missing_file_is_named(registry: Registry) -> None:
    register(registry)
    (registry.root / "tip" / "1" / "card.md").unlink()
    with pytest.raises(ArtifactError, match=r"card\.md is missing"):
        registry.load("tip")


@pytest.mark.parametrize("version", [None, "7", "challenger", "../1"])
def test_what_the_index_does_not_know_is_not_loaded(registry: Registry, version: str | None) -> None:
    stray = registry.root / "eta" / "7"
    stray.mkdir(parents=True)
    (stray / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"no model eta in .*: millrace train eta makes it; there are: none"):
        registry.load("eta", version)
    with pytest.raises(ArtifactError):
        registry.promote("eta", "7")


def test_a_damaged_index_is_told(registry: Registry) -> None:
    register(registry)
    (registry.root / "tip" / "index.json").write_text('{"aliases": {')
    with pytest.raises(ArtifactError, match="damaged"):
        registry.load("tip")


def test_a_directory_left_by_a_crash_is_replaced(registry: Registry) -> None:
    left = registry.root / "tip" / "1"
    left.mkdir(parents=True)
    (left / "half.txt").write_bytes(b"ha")
    assert register(registry) == "1"
    assert sorted(file.name for file in registry.load("tip").directory.iterdir()) == [
        "card.md",
        "manifest.json",
        "model.txt",
    ]


def test_arrays_come_back_and_pickled_ones_are_refused(registry: Registry, tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", table=np.array([{}], dtype=object))
    files = {"good.npz": npz(table=np.arange(3)), "evil.npz": (tmp_path / "evil.npz").read_bytes()}
    registry.register("eta", files, {}, "")
    artifact = registry.load("eta")
    assert artifact.arrays("good.npz")["table"].tolist() == [0, 1, 2]
    with pytest.raises(ArtifactError, match="plain arrays"):
        artifact.arrays("evil.npz")
    with pytest.raises(ArtifactError, match=r"no file none\.npz"):
        artifact.arrays("none.npz")


def test_the_settings_choose_the_root(tmp_path: Path) -> None:
    assert open_registry(Settings.model_construct(registry=None)).root == shipped_root()
    assert open_registry(Settings.model_construct(registry=str(tmp_path))).root == tmp_path
    with pytest.raises(ConfigurationError, match="MILLRACE_REGISTRY"):
        open_registry(Settings.model_construct(registry="http://mlflow:5000"))


def test_everything_that_ships_is_whole() -> None:
    registry = Registry(shipped_root())
    assert registry.names()
    for name in registry.names():
        for version in registry.index(name).versions:
            registry.load(name, version)
