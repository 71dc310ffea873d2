"""The alarm behind calls that are made at once, and what becomes of those who wait for the others."""

import asyncio
import subprocess
import sys

import pytest

from app.modes.scoring.deadline import Worker


def test_no_alarm_is_left_to_ring_when_the_process_has_taken_its_handlers_back() -> None:
    """It would end the process as a failure: SIGALRM kills by default."""
    program = (
        "import atexit, signal\n"
        "atexit.register(lambda: print(signal.getitimer(signal.ITIMER_REAL)))\n"
        "from app.modes.scoring.deadline import at_once\n"
        "print(at_once(lambda: 7, 60))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "7\n(0.0, 0.0)\n")


@pytest.mark.parametrize("turns", range(6))
async def test_told_to_end_in_the_turn_in_which_its_answer_comes_a_caller_ends(turns: int) -> None:
    worker, loop = Worker("test", timeout_s=30), asyncio.get_running_loop()

    def cancel(after: int) -> None:
        loop.call_soon(cancel, after - 1) if after else calling.cancel()

    async def call_on_and_on() -> None:
        await worker.call(lambda: loop.call_soon_threadsafe(cancel, turns))  # the answer is put right behind it
        await asyncio.Event().wait()

    calling = asyncio.create_task(call_on_and_on())
    done, _ = await asyncio.wait([calling], timeout=5)
    worker.close()
    assert done
