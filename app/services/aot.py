"""A cache of the broker's classes, linked and profiled ahead of time (JEP 514): halves the CPU a start takes, 3.2 s to 1.7 s.

Java 25 makes it from a training run, which `millrace doctor --fetch` does once; without it all works, only slower.
"""

import contextlib
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from app.errors import ServiceUnavailable
from app.services.kafka import apache_kafka
from app.services.process import running

_WRITE_S = 120.0
"""On its way out Java writes the cache: 10 s on an idle machine."""


def options(java: Path, jars: Path) -> list[str]:
    """The JVM options that use the cache, if there is one for this JRE and these jars."""
    cache = _file(java, jars)
    # Another Java than the one that made it ignores the cache, and one too old to know the option ignores that.
    return ["-XX:+IgnoreUnrecognizedVMOptions", f"-XX:AOTCache={cache}", "-Xlog:aot=off"] if cache.exists() else []


def train(java: Path, jars: Path) -> bool:
    """Make the cache unless it is there: start a broker, stop it, let Java write down what it loaded. Some ten seconds."""
    cache = _file(java, jars)
    if cache.exists():
        return True
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".train-") as scratch:
        fresh = Path(scratch, "aot")
        recipe = apache_kafka(Path(scratch, "kafka"), java, jars, [f"-XX:AOTCacheOutput={fresh}"])
        recipe = replace(recipe, grace_s=_WRITE_S)
        with contextlib.suppress(ServiceUnavailable), running(recipe):  # a Java without JEP 514 does not start with it
            pass
        if fresh.exists():
            fresh.replace(cache)
    return cache.exists()


def _file(java: Path, jars: Path) -> Path:
    """Beside the jars; named after the JRE, which its path and its time of installation tell apart from others."""
    jre = f"{java.resolve()} {java.stat().st_mtime_ns}"
    return jars / f"{hashlib.sha256(jre.encode()).hexdigest()[:8]}.aot"
