"""Writers of one SQLite file, one after the other, each woken when its turn has come.

A writer that finds the file locked sleeps and looks again, by SQLite's own rule up to a tenth of a second later, and the
others go on meanwhile: two workers of a replay of `cancellation` did no more than one. Below `app.sql.replays`.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL

from app.sql.engine import file_of


@contextmanager
def turn(url: URL) -> Iterator[None]:
    """Wait for one's turn to write to the database at `url`; a database that is no SQLite file needs none.

    By a lock on a file beside it, `millrace-replays.db-turn`: to open and close the database file itself would take SQLite's own
    locks away from this process. The system frees the lock when its holder is killed.
    """
    path = file_of(url)
    if path is None:
        yield
        return
    with path.with_name(f"{path.name}-turn").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
