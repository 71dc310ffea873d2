"""Every agent's answers are the same bits whatever the processor can do beyond the least: a log is replayed elsewhere, too."""

import hashlib
import json
import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from app.agent import find, names
from app.registry import Registry, shipped_root
from tests.agents.streams import stream

THERE = "import json; from tests.agents.test_same_bits import answers; print(json.dumps(answers()))"


def answers() -> dict[str, str]:
    """Agent -> a digest of what its champion says of a stream."""
    registry, said = Registry(shipped_root()), {}
    for agent in map(find, names()):
        memory = agent.state() if agent.state else agent.shared("sqlite://") if agent.shared else None
        scores = agent.score(agent.load(registry.load(agent.name)), stream(agent, 120), memory)
        details = msgspec.json.encode(list(scores.details))
        said[agent.name] = hashlib.sha256(scores.values.tobytes() + details).hexdigest()
    return said


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return answers()


@pytest.fixture(scope="module")
def there() -> dict[str, str]:
    """The same in a process whose NumPy takes none of the instructions that only some processors have."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(extensions)}
    done = subprocess.run(
        [sys.executable, "-c", THERE], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", names())
def test_another_processor_gives_the_same_bits(name: str, here: dict[str, str], there: dict[str, str]) -> None:
    assert here[name] == there[name]
