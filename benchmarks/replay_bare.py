"""What a replay of ride requests is held against: the model alone, all that must be computed, and SQLite alone.

Every row of a replay is decoded, made features of, scored and inserted. "compute" is the first three over records in memory,
call by call as a replay makes them, on one thread; "insert" is a plain `executemany` of the same rows, without answers being
computed. No replay by one process can be faster than either, but for what runs beside it in another thread.
"""

import os
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.codec import Decoder, Record
from app.events import AnyRide
from app.modes.consuming.lifecycle import settle
from app.modes.replay.files import open_table
from app.modes.replay.plan import Chosen, Rows
from app.modes.replay.score import load
from app.modes.replay.sources import ENTRY_RECORDS
from app.modes.stream import Ready
from app.registry import open_registry
from app.settings import Settings
from app.sql.replays import Replays

REQUESTED = "millrace.ride.requested.v1"

_decoder: Decoder[Any] = Decoder(AnyRide)


class Watch:
    """Times what happens within, in this process and in those it has waited for."""

    seconds = cpu_s = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter(), _cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = self._began
        self.seconds, self.cpu_s = time.perf_counter() - wall, _cpu_s() - cpu


def _cpu_s() -> float:
    return sum(os.times()[:4])


def bare(name: str, settings: Settings, agent: str, path: Path) -> Watch:
    """The time of "predict", "compute" or "insert" over all rows of the file."""
    if name == "insert":
        return _insert(f"sqlite:///{settings.data_dir / f'alone-{agent}.db'}", path)
    ready = load(Chosen(agent, "champion"), open_registry(settings))
    table = open_table(Rows("table", str(path), REQUESTED), settings.database_url)
    pieces = table.values(0, table.count())
    records = [Record("rides", 0, 0, 0, None, value) for values in pieces for value in values]
    return _predict(ready, records) if name == "predict" else _compute(ready, records)


def _predict(ready: Ready, records: list[Record]) -> Watch:
    """One call over the features of all rows, which are in memory."""
    rows = np.concatenate([features for _, features in _extracted(ready, records)])
    ready.model.predict(rows[:1000])
    with Watch() as watch:
        ready.model.predict(rows)
    return watch


def _compute(ready: Ready, records: list[Record]) -> Watch:
    settle()
    with Watch() as watch:
        for events, features in _extracted(ready, records):
            ready.agent.evaluate(ready.model, events, features)
    return watch


def _extracted(ready: Ready, records: list[Record]) -> Any:
    """Events and their features, call by call."""
    agent, size = ready.agent, ready.agent.max_batch
    state = agent.state() if agent.state is not None else None
    for start in range(0, len(records), size):
        events, _ = _decoder.decode_batch(records[start : start + size])
        yield events, agent.extract([event for event in events if event is not None], state)


def _insert(database_url: str, path: Path) -> Watch:
    """As many rows in a transaction as a replay has, into an empty database."""
    replays = Replays.open(database_url)
    table = pq.read_table(path, columns=["user_id", "event_id", "ride_id", "at"])
    users, events, rides = (table[name].to_pylist() for name in ("user_id", "event_id", "ride_id"))
    instants = table["at"].cast(pa.int64()).to_pylist()
    rows = [
        (0, 0, 0, offset, user, event, ride, "initial", offset / 7, at_us)
        for offset, (user, event, ride, at_us) in enumerate(zip(users, events, rides, instants, strict=True))
    ]
    names = '"lane", "input", "partition", "offset", user_id, event_id, subject_id, stage, value, at_us'
    statement = f"INSERT INTO replayed ({names}) VALUES ({', '.join('?' * 10)})"  # noqa: S608 - of our own names
    settle()
    with Watch() as watch:
        for start in range(0, len(rows), ENTRY_RECORDS):
            with replays.transaction() as connection:
                driver: Any = connection.connection.driver_connection
                driver.executemany(statement, rows[start : start + ENTRY_RECORDS])
    replays.close()
    return watch
