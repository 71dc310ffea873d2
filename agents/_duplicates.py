"""The index of fingerprints behind `duplicate`: shared by all its workers, in SQL, and alive after a restart.

Every version of every upload is kept with its event time, so a look-up means "as of this event": of the uploads by
other users that were current just before it, the most alike. A second delivery or a replay changes nothing and
answers the same. What happened earlier but reaches the index later than a look-up is not in that look-up's answer.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agents._duplicates_engine import engine_for
from agents._fingerprint import Fingerprint, Floats, compare
from app.errors import ServiceUnavailable
from app.events import UploadEvent

CROWD = 64
"""Uploads remembered per key: a text spread a thousand times needs no thousand witnesses. The first ones stay."""

RIVALS = 8
"""Uploads compared word by word, of the many that may share a key with a text full of stock phrases."""

_AT_ONCE = 500  # parameters of one statement; the compiled form is reused
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

metadata = MetaData()
versions = Table(
    "duplicate_versions",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", String(64), nullable=False),
    Column("upload_id", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("words", Integer, nullable=False),
    Column("content", Integer, nullable=False),
    Column("sample", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_duplicate_versions_upload", versions.c.upload_id, versions.c.at_us)
bands = Table(
    "duplicate_bands",
    metadata,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True, eq=False)
class Version:
    """One upload as one event left it.

    Attributes:
        id: 63 bits of the hash of user and event id, so that any worker gives it the same and no other user can take it.
        at_us: event time, microseconds since 1970.
    """

    id: int
    user_id: str
    upload_id: str
    at_us: int
    text: Fingerprint

    @property
    def moment(self) -> tuple[int, str]:
        """Its place in time; uploads of the same microsecond go by their ids."""
        return self.at_us, self.upload_id


@dataclass(frozen=True)
class Match:
    """The most similar earlier upload of somebody else, and the `PAIR_FEATURES` of the two."""

    upload_id: str
    pair: Floats


def version_of(event: UploadEvent, text: Fingerprint) -> Version:
    digest = hashlib.blake2b(f"{event.user_id}\0{event.event_id}".encode(), digest_size=8).digest()
    at_us = (event.at - _EPOCH) // timedelta(microseconds=1)
    return Version(int.from_bytes(digest) >> 1, event.user_id, event.upload_id, at_us, text)


class DuplicateIndex:
    """The index in the database at a SQLAlchemy url; one per worker, any number of workers.

    Args:
        remember: false for one that is only asked: it remembers nothing, and looks each version up as if it came alone.
    """

    def __init__(self, database_url: str, *, remember: bool = True) -> None:
        self._engine, self._remember = engine_for(database_url, writes=remember), remember
        self._ready = False

    def close(self) -> None:
        self._engine.dispose()

    def match(self, arriving: Sequence[Version]) -> list[Match | None]:
        """Remember each version, and find what it repeats, in one transaction; as if they had come one by one.

        Raises `ServiceUnavailable("database")` when the database does not answer; nothing is remembered then.
        """
        if not arriving:
            return []
        with self._transaction() as connection:
            visit = _Visit(connection, arriving)
            return visit.matches() if self._remember else visit.lookups()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            if not self._ready:
                self._create()
            with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            raise ServiceUnavailable("database", f"the index of duplicates: {error.__cause__ or error}") from error

    def _create(self) -> None:
        try:
            metadata.create_all(self._engine)
        except (OperationalError, ProgrammingError, DBAPIError):
            metadata.create_all(self._engine)  # another worker was creating them; now they are there
        self._ready = True


class _Visit:
    """One transaction: what the database knows of a batch, and what the batch adds as it goes by."""

    def __init__(self, connection: Connection, arriving: Sequence[Version]) -> None:
        self._connection = connection
        self._arriving = arriving
        keys = {key for version in arriving for key in version.text.keys}
        self._crowds = self._read_crowds(keys)
        ids = {one for crowd in self._crowds.values() for one in crowd}
        self._versions = self._read_versions(versions.c.id, ids | {version.id for version in arriving})
        self._known = set(self._versions)
        self._history: dict[tuple[str, str], set[int]] = defaultdict(set)
        uploads = {version.upload_id for version in self._versions.values()}
        for version in self._read_versions(versions.c.upload_id, uploads).values():
            self._history[version.user_id, version.upload_id].add(version.at_us)

    def matches(self) -> list[Match | None]:
        new_versions, new_bands = [], []
        found = []
        for version in self._arriving:
            if version.id not in self._known:
                self._known.add(version.id)
                new_versions.append(version)
                new_bands += self._join_crowds(version)
            found.append(self._best(version))
        self._insert(versions, [_row(version) for version in new_versions])
        self._insert(bands, new_bands)
        return found

    def lookups(self) -> list[Match | None]:
        return [self._best(version) for version in self._arriving]

    def _join_crowds(self, version: Version) -> list[dict[str, int]]:
        self._versions[version.id] = version
        self._history[version.user_id, version.upload_id].add(version.at_us)
        open_keys = [key for key in version.text.keys if len(self._crowds[key]) < CROWD]
        for key in open_keys:
            self._crowds[key].add(version.id)
        return [{"key": key, "version": version.id} for key in open_keys]

    def _best(self, version: Version) -> Match | None:
        """By word Jaccard, of those with which it shares the most keys; among equals the earliest: likeliest the author."""
        shared = Counter(one for key in version.text.keys for one in self._crowds[key])
        others = sorted((-count, self._versions[one].moment, one) for one, count in shared.items())
        current = (other for *_, one in others if self._counts(other := self._versions[one], version))
        rivals = sorted(islice(current, RIVALS), key=lambda other: other.moment)
        pairs = [Match(other.upload_id, compare(version.text, other.text)) for other in rivals]
        return max(pairs, key=lambda match: float(match.pair[0]), default=None)

    def _counts(self, other: Version, version: Version) -> bool:
        """Whether `other` is somebody else's, happened before `version`, and was current then."""
        if other.user_id == version.user_id or other.moment >= version.moment:
            return False
        history = self._history[other.user_id, other.upload_id]
        return not any(other.at_us < at < version.at_us for at in history)

    def _read_crowds(self, keys: set[int]) -> dict[int, set[int]]:
        crowds: dict[int, set[int]] = defaultdict(set)
        for some in _portions(sorted(keys)):
            for key, one in self._connection.execute(select(bands.c.key, bands.c.version).where(bands.c.key.in_(some))):
                crowds[key].add(one)
        return crowds

    def _read_versions(self, column: Column[Any], wanted: set[Any]) -> dict[int, Version]:
        found = {}
        for some in _portions(sorted(wanted)):
            for row in self._connection.execute(select(versions).where(column.in_(some))):
                text = Fingerprint(np.frombuffer(row.sample, dtype="<u4"), row.words, row.content)
                found[row.id] = Version(row.id, row.user_id, row.upload_id, row.at_us, text)
        return found

    def _insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            dialect = sqlite if self._connection.dialect.name == "sqlite" else postgresql
            # Another worker may have remembered the same event, after a rebalance.
            self._connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def _row(version: Version) -> dict[str, Any]:
    return {
        "id": version.id,
        "user_id": version.user_id,
        "upload_id": version.upload_id,
        "at_us": version.at_us,
        "words": version.text.words,
        "content": version.text.content,
        "sample": version.text.sample.astype("<u4").tobytes(),
    }


def _portions(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
