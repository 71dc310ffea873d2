"""Every question ends by its deadline: a short form of `python -m benchmarks.ask --faults`, on every run."""

import tempfile
from pathlib import Path

import pytest

from app.settings import Settings
from benchmarks import ask_faults


@pytest.mark.chaos
def test_every_question_ends_by_its_deadline_while_parts_are_killed() -> None:
    """Worker, gateway and broker die with -9, twice each, while two askers ask."""
    with tempfile.TemporaryDirectory(prefix="millrace-") as directory:
        audit = ask_faults.on_embedded(Settings.model_construct(data_dir=Path(directory)), "duration", 12)
    assert audit.problems(grace_ms=3000) == [], audit  # the machine of a test is busy: the benchmark is strict
    assert {"duration", "gateway", "broker"} <= set(audit.kills), audit
    assert audit.ends["answered"] > 100, audit
