"""The store of replays, beside the live one: a replay writes without pause, and the decision worker must never wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection

from app.sql.database import Database
from app.sql.engine import DATABASE, beside, engine_for
from app.sql.replay_schema import metadata
from app.sql.tables import ensure
from app.sql.turns import turn

_REMEDY = "drop the tables of replays (replay*, whatif*), which can be computed again"


class Replays(Database):
    """An open database of replays."""

    tables = metadata

    @classmethod
    def open(cls, url: str) -> Self:
        """The replays that belong to the store at `url`; creates what is missing.

        Raises `ConfigurationError` for a url nobody understands, and for tables that are not ours as they are now, and
        `ServiceUnavailable`.
        """
        engine = engine_for(beside(url, "replays"))
        ensure(engine, cls.tables, DATABASE, _REMEDY)
        return cls(engine)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is kept whole or not at all; the workers of a replay take turns."""
        with turn(self.engine.url), super().transaction() as connection:
            yield connection
