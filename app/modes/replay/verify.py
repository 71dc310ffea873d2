"""Recompute what was said live, and find what differs: for the same version it must be nothing, to the last bit.

What was said is read first, because it lies in the order in which it was delivered, with repeats after a kill, which is not
the order of what it answers. For an agent whose state mixes topics there is `app.modes.replay.retrace`.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from sqlalchemy import select

from app.codec import SOURCE, Decoder, Record
from app.modes.consuming.read import reader
from app.modes.replay.comparing import NOTHING, Table, Tabling, Verified, compare, digest_of, tables, unsaid
from app.modes.replay.plan import Place
from app.modes.replay.score import Scoring, ahead, memory_of
from app.modes.replay.sources import Source, Within
from app.modes.stream import Ready
from app.predictions import Prediction
from app.sql.schema import predictions
from app.store import Store
from app.topics import PREDICTIONS

_PIECE = 4096
_decoder: Decoder[Prediction] = Decoder(Prediction)

Said = AsyncIterator[Sequence[Prediction]]


async def said_on_topic(brokers: str, partitions: int, agent: str) -> Said:
    """Every live prediction of an agent the log still has."""
    source_of = f"{SOURCE}/agents/{agent}".encode()
    for partition in range(partitions):
        async with reader(brokers, PREDICTIONS.name, partition) as source:
            first, end = await source.bounds()
            async for records in source.records(first, end):
                # By the header, for to decode the track of every `eta` only to pass it over takes longest.
                mine = [r for r in records if dict(r.headers).get("ce_source", source_of) == source_of]
                messages, _ = _decoder.decode_batch(mine)
                yield [message for message in messages if message is not None]


async def said_in_store(store: Store, agent: str) -> Said:
    """Every live prediction of an agent the store still has."""
    with store.connected() as connection:
        query = select(predictions.c.message).where(predictions.c.model == agent)
        streamed = connection.execution_options(stream_results=True, yield_per=_PIECE)
        for messages in streamed.scalars(query).partitions():
            yield [_decoder.decode(message) for message in messages]


Told = Callable[[int], None]
"""Hears how many more records have been recomputed."""


async def verify(ready: Ready, source: Source, said: Said, private: Path, told: Told = lambda _: None) -> Verified:
    """Compare everything in the range; `private` is a directory for what workers of the agent share, see `memory_of`."""
    found = Verified(ready.agent.name, ready.version)
    spans = await source.spans(ready.agent)
    places = {Place(part.topic, part.partition) for span in spans for part in span.parts}
    numbered = ready.agent.shared is not None and len(places) > 1
    said_of = await _listen(found, said, places, source.within, numbered)
    for number, span in enumerate(spans):
        scoring = Scoring(ready, source, span, memory_of(ready.agent, private, f"span-{number}"))
        covered = {Place(*where): start for where, start in span.starts.items()}
        try:
            async with aclosing(ahead(source.slices(span, 0))) as slices:
                async for piece in slices:
                    now = tables(await scoring.answers(piece.records))
                    for place, end in _ends(piece.records).items():
                        live = said_of.get(place, NOTHING).between(covered[place], end)
                        compare(found, place, live, now.get(place, NOTHING))
                        found.unsaid += unsaid(live, now.get(place, NOTHING))
                        covered[place] = max(covered[place], end)
                    told(len(piece.records))
        finally:
            scoring.close()
    return found


async def _listen(
    found: Verified, said: Said, places: set[Place], within: Within | None, numbered: bool
) -> dict[Place, Table]:
    """What this version said of these partitions, and of the times asked for; what others said is counted.

    And what has no number, if answers should be `numbered`.
    """
    heard: defaultdict[Place, Tabling] = defaultdict(Tabling)
    async for some in said:
        for each in some:
            place = Place(each.topic, each.partition)
            if each.model != found.agent or place not in places or (within and not within(each.event_at)):
                continue
            if each.version == found.version:
                heard[place].add(each.offset, each.value, digest_of(each))
                found.unnumbered += numbered and each.entered is None
            else:
                found.others[each.version] += 1
    return {place: one.sorted() for place, one in heard.items()}


def _ends(records: Sequence[Record]) -> dict[Place, int]:
    """The offset behind the last record of each partition; they come in order."""
    return {Place(record.topic, record.partition): record.offset + 1 for record in records}
