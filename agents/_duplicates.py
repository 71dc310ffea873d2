"""The index of fingerprints behind `duplicate`: shared by all its workers, in SQL, and alive after a restart.

Every version of every upload is kept with its event time, so a look-up means "as of this event": of the uploads by
other users that were current just before it, the most alike. What happened earlier but reaches the index later than a
look-up is not in that look-up's answer. So each version bears the number under which it was entered, and is answered from
what was entered before it: a second delivery changes nothing and answers the same, and whoever tells another index the same
events in the order of these numbers gets the same bits (docs/decisions/0009).
"""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Column, Connection, update

from agents._duplicates_engine import engine_for
from agents._duplicates_tables import bands, create, entries, having, only_one, versions
from agents._fingerprint import Fingerprint, Floats, compare
from app.events import UploadEvent
from app.sql.bulk import Row, load
from app.sql.engine import answering

CROWD = 64
"""Uploads remembered per key: a text spread a thousand times needs no thousand witnesses. The first ones stay."""

RIVALS = 8
"""Uploads compared word by word, of the many that may share a key with a text full of stock phrases."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = 1 << 62


@dataclass(frozen=True, eq=False)
class Version:
    """One upload as one event left it.

    Attributes:
        id: 63 bits of the hash of user and event id, so that any worker gives it the same and no other user can take it.
        at_us: event time, microseconds since 1970.
        entered: its place in the order in which the index was told; 0 of one that is not in it.
    """

    id: int
    user_id: str
    upload_id: str
    at_us: int
    text: Fingerprint
    entered: int = 0

    @property
    def moment(self) -> tuple[int, str]:
        """Its place in time; uploads of the same microsecond go by their ids."""
        return self.at_us, self.upload_id


@dataclass(frozen=True)
class Match:
    """The most similar earlier upload of somebody else, and the `PAIR_FEATURES` of the two."""

    upload_id: str
    pair: Floats


class Entry(NamedTuple):
    """Where a version was entered (0: it is not in the index), and what it repeats."""

    entered: int
    match: Match | None


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
        """What each version repeats; see `enter`."""
        return [entry.match for entry in self.enter(arriving)]

    def enter(self, arriving: Sequence[Version]) -> list[Entry]:
        """Remember each version, in one transaction, and find what it repeats; as if they had come one by one.

        One that is known already is answered as it was when it was entered. Raises `ServiceUnavailable("database")` when
        the database does not answer; nothing is remembered then.
        """
        if not arriving:
            return []
        with answering("the index of duplicates"):
            if not self._ready:
                create(self._engine)
                self._ready = True
            with self._engine.begin() as connection:
                last = only_one(connection) if self._remember else None
                visit = _Visit(connection, arriving)
                if last is not None:
                    visit.enter(last)
        return visit.entries()  # out here, so that no other worker waits while texts are compared


class _Visit:
    """One transaction: what the database knows of a batch, and what the batch adds as it goes by."""

    def __init__(self, connection: Connection, arriving: Sequence[Version]) -> None:
        self._connection = connection
        self._arriving = arriving
        keys = {key for version in arriving for key in version.text.keys}
        self._crowds = self._read_crowds(keys)
        ids = {one for crowd in self._crowds.values() for one in crowd}
        self._versions = self._read_versions(versions.c.id, ids | {version.id for version in arriving})
        self._history: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
        uploads = {version.upload_id for version in (*self._versions.values(), *arriving)}
        for version in self._read_versions(versions.c.upload_id, uploads).values():
            self._history[version.user_id, version.upload_id].add((version.at_us, version.entered))

    def enter(self, last: int) -> None:
        """Enter what is new, under numbers after `last`.

        They are the clock's microseconds where that is ahead: so numbers go on rising behind those that are on the log
        already when an index was deleted, or its last transactions were lost in a power cut.
        """
        first = number = max(last + 1, time.time_ns() // 1000)
        new_versions, new_bands = list[Version](), list[Row]()
        for version in self._arriving:
            if version.id not in self._versions:
                entered = replace(version, entered=number)
                number += 1
                new_versions.append(entered)
                new_bands += self._join_crowds(entered)
        if number > first:
            self._connection.execute(update(entries).values(last=number - 1))
            load(self._connection, versions, map(_row, new_versions))
            load(self._connection, bands, new_bands)

    def entries(self) -> list[Entry]:
        """Of what arrived. What was entered with it makes no difference: an answer rests on what has a smaller number."""
        return [self._entry(version) for version in self._arriving]

    def _entry(self, version: Version) -> Entry:
        known = self._versions.get(version.id)
        entered = known.entered if known is not None else 0
        return Entry(entered, self._best(version, entered or _NEVER))

    def _join_crowds(self, version: Version) -> list[Row]:
        self._versions[version.id] = version
        self._history[version.user_id, version.upload_id].add((version.at_us, version.entered))
        open_keys = {key for key in version.text.keys if len(self._crowds[key]) < CROWD}
        for key in open_keys:
            self._crowds[key].add(version.id)
        return [(key, version.id) for key in open_keys]

    def _best(self, version: Version, until: int) -> Match | None:
        """By word Jaccard, of those with which it shares the most keys; among equals the earliest: likeliest the author.

        Of those entered before `until`. A crowd only grows, so what it was then can be told from it.
        """
        shared = Counter(one for key in version.text.keys for one in self._crowds[key])
        others = sorted((-count, self._versions[one].moment, one) for one, count in shared.items())
        current = (other for *_, one in others if self._counts(other := self._versions[one], version, until))
        rivals = sorted(islice(current, RIVALS), key=lambda other: other.moment)
        pairs = [Match(other.upload_id, compare(version.text, other.text)) for other in rivals]
        return max(pairs, key=lambda match: float(match.pair[0]), default=None)

    def _counts(self, other: Version, version: Version, until: int) -> bool:
        """Whether `other` is somebody else's, happened before `version`, and was current then, as far as was known."""
        if other.user_id == version.user_id or other.entered >= until or other.moment >= version.moment:
            return False
        history = self._history[other.user_id, other.upload_id]
        return not any(other.at_us < at < version.at_us and entered < until for at, entered in history)

    def _read_crowds(self, keys: set[int]) -> dict[int, set[int]]:
        crowds: dict[int, set[int]] = defaultdict(set)
        for row in having(self._connection, bands.c.key, keys):
            crowds[row.key].add(row.version)
        return crowds

    def _read_versions(self, column: Column[Any], wanted: Collection[Any]) -> dict[int, Version]:
        found = {}
        for row in having(self._connection, column, wanted):
            text = Fingerprint(np.frombuffer(row.sample, dtype="<u4"), row.words, row.content)
            found[row.id] = Version(row.id, row.user_id, row.upload_id, row.at_us, text, row.entered)
        return found


def _row(version: Version) -> Row:
    text, sample = version.text, version.text.sample.astype("<u4").tobytes()
    whose = (version.id, version.user_id, version.upload_id, version.at_us)
    return (*whose, text.words, text.content, sample, version.entered)
