"""Writers of one SQLite file take turns, whether threads or processes, and a dead one holds nobody up."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import make_url

from app.sql.turns import turn

_HOLDER = """
import sys, time
from sqlalchemy import make_url
from app.sql.turns import turn
with turn(make_url(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_two_writers_never_have_the_turn_together(tmp_path: Path) -> None:
    url, inside, most = make_url(f"sqlite:///{tmp_path}/x.db"), [0], [0]

    def write(_: int) -> None:
        with turn(url):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0)  # lets another thread in
            inside[0] -= 1

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(400)))
    assert most == [1]


def test_a_writer_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_enter, url)
        assert not waiting.done()
        holder.send_signal(signal.SIGKILL)
        assert waiting.result(timeout=30) == "entered"
    holder.wait()
    holder.stdout.close()


def test_another_database_needs_no_turn() -> None:
    with (
        turn(make_url("postgresql+psycopg://nobody@nowhere/x")),
        turn(make_url("sqlite://")),
        turn(make_url("sqlite://")),
    ):
        pass


def _enter(url: str) -> str:
    with turn(make_url(url)):
        return "entered"
