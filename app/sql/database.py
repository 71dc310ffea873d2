"""A database of ours that is open: what its readers and its writers share."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar, Self

from sqlalchemy import Connection, Engine, MetaData

from app.sql.engine import DATABASE, answering, beside, engine_for, whereabouts
from app.sql.tables import ANOTHER, ensure


class Database:
    """One per process; its methods may be called from several threads, and all but `open` raise `ServiceUnavailable` alone.

    Everything is synchronous: call it through `asyncio.to_thread`.
    """

    tables: ClassVar[MetaData]
    beside: ClassVar[str] = ""
    """Its name, where it is not the database at the url but one beside that; see `app.sql.engine.beside`."""
    remedy: ClassVar[str] = ANOTHER
    """What to do about tables that are not ours as they are now."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect and create what is missing; several processes may do so at the same time.

        Raises `ConfigurationError` for a url nobody understands, and for tables that are not ours as they are now, and
        `ServiceUnavailable`.
        """
        return cls(cls._connect(url))

    @classmethod
    def _connect(cls, url: str) -> Engine:
        engine = engine_for(beside(url, cls.beside) if cls.beside else url)
        ensure(engine, cls.tables, DATABASE, cls.remedy)
        return engine

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection for reading."""
        with self.answering(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is kept whole or not at all."""
        with self.answering(), self.engine.begin() as connection:
            yield connection

    def answering(self) -> AbstractContextManager[None]:
        """What does not answer in here is `ServiceUnavailable`, naming this database."""
        return answering(whereabouts(self.engine.url))
