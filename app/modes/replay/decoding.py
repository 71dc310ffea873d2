"""Decodes records of several topics that lie in one order, each as its own topic would be decoded live.

Between the sources of a replay and `app.modes.scoring.process`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

from app.codec import Decoder, Failure, Record
from app.events import AnyEvent


class MixedDecoder(Decoder[AnyEvent]):
    """Decodes a batch topic by topic, one call each; a message that belongs on another topic fails, as it would live.

    Args:
        messages: topic -> the messages it carries.
    """

    def __init__(self, messages: Mapping[str, object]) -> None:
        super().__init__(union(messages.values()))
        self._by_topic = {topic: Decoder[AnyEvent](carried) for topic, carried in messages.items()}

    def decode_batch(self, records: Sequence[Record]) -> tuple[list[AnyEvent | None], list[Failure]]:
        rows = defaultdict[str, list[int]](list)
        for row, record in enumerate(records):
            rows[record.topic].append(row)
        messages: list[AnyEvent | None] = [None] * len(records)
        failures: list[Failure] = []
        for topic, places in rows.items():
            decoded, failed = self._by_topic[topic].decode_batch([records[row] for row in places])
            failures += failed
            for row, message in zip(places, decoded, strict=True):
                messages[row] = message
        return messages, failures


def union(messages: Iterable[object]) -> object:
    """One type for any of these message types, or unions of them."""
    return reduce(or_, messages)
