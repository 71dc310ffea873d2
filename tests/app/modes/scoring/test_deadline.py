"""The alarm behind calls that are made at once."""

import subprocess
import sys


def test_no_alarm_is_left_to_ring_when_the_process_has_taken_its_handlers_back() -> None:
    """It would end the process as a failure: SIGALRM kills by default."""
    program = (
        "import atexit, signal\n"
        "atexit.register(lambda: print(signal.getitimer(signal.ITIMER_REAL)))\n"
        "from app.modes.scoring.deadline import at_once\n"
        "print(at_once(lambda: 7, 60))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (0, "7\n(0.0, 0.0)\n")
