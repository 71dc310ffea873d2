"""A replay keeps out of the way, unless it is told that nothing live runs."""

import os
import subprocess
import sys

import pytest

_SAYS = (
    "import os, sys; from app.modes.replay.manners import be_modest; be_modest({eager}); print(os.nice(0), {policy})"
)


def said(*, eager: bool) -> list[str]:
    """Niceness and scheduling policy of a process with these manners."""
    policy = "os.sched_getscheduler(0)" if sys.platform == "linux" else "None"
    command = [sys.executable, "-c", _SAYS.format(eager=eager, policy=policy)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def test_whatever_is_live_goes_first() -> None:
    niceness, policy = said(eager=False)
    assert niceness == "19"
    assert policy == (str(os.SCHED_IDLE) if sys.platform == "linux" else "None")


@pytest.mark.skipif(sys.platform != "linux", reason="there are no policies elsewhere")
def test_an_eager_one_takes_its_share() -> None:
    assert said(eager=True) == [str(os.nice(0)), str(os.sched_getscheduler(0))]
