"""The store of replays, beside the live one: a replay writes without pause, and the decision worker must never wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from app.sql.database import Database
from app.sql.replay_schema import metadata
from app.sql.turns import turn


class Replays(Database):
    """The open database of the replays that belong to the store at a url."""

    tables = metadata
    beside = "replays"
    remedy = "drop the tables of replays (replay*, whatif*), which can be computed again"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is kept whole or not at all; the workers of a replay take turns."""
        with turn(self.engine.url), super().transaction() as connection:
            yield connection
