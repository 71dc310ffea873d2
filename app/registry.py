"""Model versions and aliases, with checksums. A file store: `<root>/<model>/<version>/` holds one artifact.

Training writes here, the agents' workers read. Nothing is unpickled, and a file whose checksum is not the one the
model's `index.json` records is not loaded. Without a setting the root is `agents/models`, which ships with Millrace.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.errors import ArtifactError, ConfigurationError
from app.settings import Settings

CHAMPION = "champion"
"""The alias that names the version which is served when nobody asks for another."""

INDEX, MANIFEST, CARD = "index.json", "manifest.json", "card.md"

_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")


@dataclass(frozen=True)
class Artifact:
    """One version of one model, verified against the registry's index.

    Attributes:
        directory: its files: `model.txt` (LightGBM text), `*.npz` arrays, `card.md`, `manifest.json`.
        manifest: data checksum, code revision, seed, metrics beside their baselines.
        files: those that were verified; whatever else lies in the directory is not read.
    """

    name: str
    version: str
    directory: Path
    manifest: dict[str, Any]
    files: frozenset[str] = frozenset()

    def path(self, file: str) -> Path:
        """Where one of its files lies. Raises `ArtifactError` when it has none of that name."""
        if file not in self.files:
            raise ArtifactError(
                f"model {self.name} {self.version} has no file {file}: train it again (millrace train {self.name})"
            )
        return self.directory / file

    def arrays(self, file: str) -> dict[str, NDArray[Any]]:
        """The arrays of an `.npz` file, by name; object arrays, which would be unpickled, are refused."""
        try:
            with np.load(self.path(file), allow_pickle=False) as loaded:
                return {name: loaded[name] for name in loaded.files}
        except ValueError as error:
            raise ArtifactError(f"model {self.name} {self.version}: {file} is not a file of plain arrays") from error

    def card(self) -> str:
        """The model card, Markdown."""
        return self.path(CARD).read_text(encoding="utf-8")


class Index(msgspec.Struct, forbid_unknown_fields=True):
    """What the registry knows of one model: `index.json`.

    Attributes:
        aliases: alias -> version.
        versions: version -> file name -> SHA-256 of its bytes, hexadecimal.
    """

    aliases: dict[str, str] = {}
    versions: dict[str, dict[str, str]] = {}


class Registry:
    """The versions of every model under one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Every model that has an index."""
        return sorted(index.parent.name for index in self.root.glob(f"*/{INDEX}"))

    def index(self, name: str) -> Index:
        """The index of one model; an empty one where the model is unknown. Raises `ArtifactError` on a damaged one."""
        path = self.root / name / INDEX
        try:
            return msgspec.json.decode(path.read_bytes(), type=Index)
        except FileNotFoundError:
            return Index()
        except msgspec.MsgspecError as error:
            raise ArtifactError(f"{path} is damaged: {error}") from error

    def resolve(self, name: str, version: str | None = None) -> str:
        """The version a version or an alias stands for; the champion where none is given."""
        index = self.index(name)
        wanted = version or CHAMPION
        resolved = index.aliases.get(wanted, wanted)
        if resolved not in index.versions:
            if not index.versions:
                there = ", ".join(self.names()) or "none"
                raise ArtifactError(
                    f"no model {name} in {self.root}: millrace train {name} makes it; there are: {there}"
                )
            known = ", ".join([*index.aliases, *index.versions])
            raise ArtifactError(f"model {name} has no version {wanted} in {self.root}; there are: {known}")
        return resolved

    def load(self, name: str, version: str | None = None) -> Artifact:
        """One version, every file checked. Raises `ArtifactError` naming each file that differs from the index."""
        resolved = self.resolve(name, version)
        directory, recorded = self.root / name / resolved, self.index(name).versions[resolved]
        differs = [
            f"{file} {'differs' if (directory / file).is_file() else 'is missing'}"
            for file, checksum in recorded.items()
            if _checksum_of(directory / file) != checksum
        ]
        if differs:
            raise ArtifactError(
                f"model {name} {resolved} is not what the registry recorded: {', '.join(differs)} in {directory}"
            )
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=dict[str, Any])
        return Artifact(name, resolved, directory, manifest, frozenset(recorded))

    def register(self, name: str, files: Mapping[str, bytes], manifest: Mapping[str, Any], card: str) -> str:
        """Add a version, which becomes the champion when it is the first; the same bytes again add none.

        Args:
            name: of the model.
            files: file name -> content: `model.txt`, `*.npz`.
            manifest: JSON-encodable.
            card: Markdown.

        Returns: the version: "1", "2", ...
        """
        contents = {
            **files,
            MANIFEST: msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n",
            CARD: card.encode(),
        }
        checksums = {file: hashlib.sha256(contents[file]).hexdigest() for file in sorted(contents)}
        with self._writing(name) as index:
            for version, recorded in index.versions.items():
                if recorded == checksums:
                    return version
            version = str(max(map(int, index.versions), default=0) + 1)
            _write_directory(self.root / name / version, contents)
            index.versions[version] = checksums
            index.aliases.setdefault(CHAMPION, version)
        return version

    def promote(self, name: str, version: str, alias: str = CHAMPION) -> None:
        """Point an alias at a version, or at what another alias stands for.

        Raises `ArtifactError` when there is no such version, `ConfigurationError` for an alias that could be taken for one.
        """
        if not _ALIAS.match(alias):
            raise ConfigurationError(f"an alias is a word of a-z, 0-9 and -, beginning with a letter, not {alias!r}")
        resolved = self.resolve(name, version)
        with self._writing(name) as index:
            index.aliases[alias] = resolved

    @contextmanager
    def _writing(self, name: str) -> Iterator[Index]:
        """The index, to be changed by nobody else meanwhile, and written when the block ends well.

        Who reads does not wait: an index is replaced whole.
        """
        directory = self.root / name
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            index = self.index(name)
            yield index
            encoded = msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"
            _write_file(directory / INDEX, encoded)
        finally:
            os.close(lock)


def open_registry(settings: Settings) -> Registry:
    """The registry the settings name, else the one that ships. Raises `ConfigurationError` where it is no directory."""
    if settings.registry is None:
        return Registry(shipped_root())
    root = Path(settings.registry)
    if "://" in settings.registry or (root.exists() and not root.is_dir()):
        raise ConfigurationError(f"MILLRACE_REGISTRY: {settings.registry} is not a directory")
    return Registry(root)


def shipped_root() -> Path:
    """`agents/models` of the installed package; found by name, for `app` imports nothing above it."""
    spec = importlib.util.find_spec("agents")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("the package `agents` is not installed: MILLRACE_REGISTRY must name a directory")
    return Path(next(iter(spec.submodule_search_locations))) / "models"


def _checksum_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _write_file(path: Path, content: bytes) -> None:
    """Whole or not at all: a reader never sees half an index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def _write_directory(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Whole or not at all; a directory the index does not know is left over from a crash and is replaced."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=directory.parent, prefix="."))
    for file, content in contents.items():
        _write_file(scratch / file, content)
    scratch.chmod(0o755)
    scratch.rename(directory)
