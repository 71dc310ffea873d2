"""What a replay is to do, settled before it begins: which versions read which range, up to which end, and where to.

Kept as JSON with the run, so that whoever continues it, here or on another machine, does the same. Pure.
"""

from datetime import datetime
from typing import Literal, NamedTuple

from msgspec import Struct

Target = Literal["store", "topic", "parquet"]
Question = Literal["diff", "backfill"]


EVERY = -1
"""Stands for every partition."""


class Chosen(Struct, frozen=True):
    """An agent and the version of its model."""

    agent: str
    version: str


class TopicRange(Struct, frozen=True, tag="topic"):
    """Records of a topic.

    Attributes:
        topic: `None`: each agent's own.
        since, until: event time, `until` excluded; earlier events still move a state.
        offsets: partition -> first offset and end, `EVERY` for all; absent: from the first there is to the end when the
            run began.
    """

    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    offsets: dict[int, tuple[int, int]] = {}


class Rows(Struct, frozen=True, tag="rows"):
    """Events in a file or of a query, a row each.

    Attributes:
        kind: how they are read: "table" (Parquet, CSV: `app.modes.replay.files`), "sql", or the name of another format.
        name: the file's absolute path, or the query.
        events: the tag of the event a row is, where it has no column `type`.
    """

    kind: str
    name: str
    events: str | None = None


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Part(Struct, frozen=True):
    """A range of one partition.

    Attributes:
        topic: of a file or a query: its label.
        first: where reading begins: before `start` for an agent that must know what came before.
        start: the first offset whose prediction is kept; `end`, where all is read only to know it.
        end: the first offset that is not read.
    """

    topic: str
    partition: int
    first: int
    start: int
    end: int


class Order(Struct, frozen=True):
    """What an agent said live of the records of a span, which tells in which order it had read them.

    Attributes:
        part: of the topic of its predictions.
    """

    agent: str
    part: Part


class Span(Struct, frozen=True):
    """What one lane reads, in order: one range, or several merged by the timestamps of their records.

    Attributes:
        order: for a state over several topics: how they were read live, as far as that is known.
        told: for a state that workers share: likewise, the same agent's predictions on every partition.
        state: whether an agent reads it that keeps a state, which is written down with every slice.
    """

    parts: tuple[Part, ...]
    order: Order | None = None
    told: tuple[Order, ...] = ()
    state: bool = False

    @property
    def topics(self) -> tuple[str, ...]:
        """Each once; a row of a replay names its own by its place in here."""
        return tuple(dict.fromkeys(part.topic for part in self.parts))

    @property
    def size(self) -> int:
        """How many offsets there are; some may hold no record."""
        return sum(part.end - part.first for part in self.parts)

    @property
    def starts(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the first offset whose prediction is kept."""
        return {(part.topic, part.partition): part.start for part in self.parts}


class Plan(Struct, frozen=True, kw_only=True):
    """A replay.

    Attributes:
        directory: of a Parquet target.
        question: what is asked of the answers once they are there; it wants the store as the target.
    """

    chosen: tuple[Chosen, ...]
    source: TopicRange | Rows
    target: Target = "store"
    directory: str | None = None
    question: Question | None = None

    @property
    def needs_kafka(self) -> bool:
        return isinstance(self.source, TopicRange) or self.target == "topic"
