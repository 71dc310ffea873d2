"""A scheduler as a process: `python -m tests.app.modes.job_worker DATABASE SOURCE REGISTRY NOW LEASE_S CATCH_UP [STOP_AT]`.

It writes a line for each run it ended. Given STOP_AT it writes "working" in the chunk of that number and waits for ever.
"""

import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

from app.registry import Registry
from app.sql.engine import engine_for
from app.sql.runs import Runs
from app.testing import Clock
from tests.app.modes import jobs


def main(database: str, source: str, models: str, now: str, lease_s: str, catch_up: str, stop_at: str = "0") -> None:
    chunks = 0

    def during() -> None:
        nonlocal chunks
        chunks += 1
        if chunks == int(stop_at):
            sys.stdout.write("working\n")
            sys.stdout.flush()
            threading.Event().wait()

    runs = Runs.open(database, timedelta(seconds=float(lease_s)))
    job = jobs.variant(during, catch_up=catch_up)
    clock = Clock(datetime.fromisoformat(now))
    for run in jobs.scheduler(runs, engine_for(source), Registry(Path(models)), clock, job).tick():
        sys.stdout.write(f"{run.as_of.isoformat()} {run.state}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
