"""The work of the card fraud benchmark: bytes of transactions in, bytes of predictions out. The same for everybody.

`fraud_peers` puts it into plain Faust, Quix Streams and no framework at all: the same model, the same features with the same
state, and the same JSON out as the real worker's (columns; one prediction to a record for who sends them singly), so that
what differs is the machinery around it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import numpy as np

from app.agent import find
from app.events import TransactionMade
from app.modes.scoring.tables import MOST_ROWS
from app.modes.stream import load
from app.predictions import Details, PredictionBatch
from app.registry import open_registry
from app.settings import Settings

AGENT = "fraud"


class Read(NamedTuple):
    """Events of one partition, in order, and where they lie."""

    events: Sequence[TransactionMade]
    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps_ms: Sequence[int]


class Task:
    """The agent with its champion model, and a state per partition."""

    def __init__(self, settings: Settings) -> None:
        ready = load(find(AGENT), open_registry(settings))
        self._agent, self._model, self._version = ready.agent, ready.model, ready.version
        self._states: dict[int, object] = {}
        self._decoder = msgspec.json.Decoder(TransactionMade)
        self._encode = msgspec.json.Encoder().encode

    def decode(self, values: Sequence[bytes]) -> list[TransactionMade]:
        """Many at once."""
        return self._decoder.decode_lines(b"\n".join(values))

    def columns(self, read: Read) -> list[bytes]:
        """The predictions on events of one partition, in order, as records of `MOST_ROWS` at most."""
        return [self._encode(batch) for batch in self._batches(read)]

    def singly(self, read: Read) -> list[bytes]:
        """The same, one record to each."""
        return [self._encode(said) for batch in self._batches(read) for said in batch.rows()]

    def _batches(self, read: Read) -> Iterator[PredictionBatch]:
        events, partition = read.events, read.partition
        agent = self._agent
        scores = agent.score(self._model, events, self._state(partition))
        at, details = datetime.now(UTC), Details.of(scores.details).columns()
        latencies_ms = np.maximum(at.timestamp() * 1000 - np.array(read.timestamps_ms, np.float64), 0.0).round(3)
        for first in range(0, len(events), MOST_ROWS):
            some = slice(first, min(first + MOST_ROWS, len(events)))
            made = events[some]
            yield PredictionBatch(
                kind=made[0].kind,
                model=agent.name,
                version=self._version,
                unit=agent.unit,
                topic=read.topic,
                partition=partition,
                at=at,
                event_id=[event.event_id for event in made],
                subject_id=[event.subject_id for event in made],
                user_id=[event.user_id for event in made],
                key=[event.key for event in made],
                event_at=[event.at for event in made],
                offset=list(read.offsets[some]),
                value=scores.values[some].tolist(),
                latency_ms=latencies_ms[some].tolist(),
                detail={name: column[some] for name, column in details.items()},
            )

    def _state(self, partition: int) -> object:
        if self._agent.state is None:
            return None
        if partition not in self._states:
            self._states[partition] = self._agent.state()
        return self._states[partition]
