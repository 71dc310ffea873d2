"""The work of the card fraud benchmark: bytes of transactions in, bytes of predictions out. The same for everybody.

`fraud_peers` puts it into plain Faust, Quix Streams and no framework at all: the same model, the same features with the same
state, and the same JSON out as the real worker's, so that what differs is the machinery around it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from app.agent import find
from app.events import TransactionMade
from app.modes.stream import load
from app.predictions import Prediction
from app.registry import open_registry
from app.settings import Settings

AGENT = "fraud"


class Task:
    """The agent with its champion model, and a state per partition."""

    def __init__(self, settings: Settings) -> None:
        ready = load(find(AGENT), open_registry(settings))
        self._agent, self._model, self._version = ready.agent, ready.model, ready.version
        self._states: dict[int, object] = {}
        self._decoder = msgspec.json.Decoder(TransactionMade)
        self._encoder = msgspec.json.Encoder()

    def decode(self, values: Sequence[bytes]) -> list[TransactionMade]:
        """Many at once."""
        return self._decoder.decode_lines(b"\n".join(values))

    def answer(
        self,
        events: Sequence[TransactionMade],
        topic: str,
        partition: int,
        offsets: Sequence[int],
        timestamps_ms: Sequence[int],
    ) -> list[bytes]:
        """One prediction per event of one partition, in order."""
        agent = self._agent
        scores = agent.score(self._model, events, self._state(partition))
        at, encode = datetime.now(UTC), self._encoder.encode
        now_ms = at.timestamp() * 1000
        details = scores.details or [None] * len(events)
        return [
            encode(
                Prediction(
                    event_id=event.event_id,
                    subject_id=event.subject_id,
                    user_id=event.user_id,
                    kind=event.kind,
                    model=agent.name,
                    version=self._version,
                    value=value,
                    unit=agent.unit,
                    topic=topic,
                    partition=partition,
                    offset=offset,
                    event_at=event.at,
                    at=at,
                    latency_ms=max(0.0, now_ms - timestamp_ms),
                    detail=detail,
                )
            )
            for event, value, detail, offset, timestamp_ms in zip(
                events, scores.values.tolist(), details, offsets, timestamps_ms, strict=True
            )
        ]

    def _state(self, partition: int) -> object:
        if self._agent.state is None:
            return None
        if partition not in self._states:
            self._states[partition] = self._agent.state()
        return self._states[partition]
