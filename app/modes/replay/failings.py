"""What a run could not answer, by cause: for whoever reads how it ended. `app.modes.replay.targets` writes it down."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from sqlalchemy import and_, func, select

from app.modes.replay.plan import Span
from app.sql.replay_schema import failures, lanes
from app.sql.replays import Replays

_spans = msgspec.json.Decoder(Span)


class Failing(NamedTuple):
    """Records that failed alike.

    Attributes:
        records: how many.
        topic, partition, offset: of the first of them; of a file or a query its label, 0 and the row.
    """

    model: str
    cause: str
    error: str
    records: int
    topic: str
    partition: int
    offset: int


def failings(replays: Replays, run: str, most: int = 5) -> list[Failing]:
    """The causes of a run's failures, the most frequent first, at most so many."""
    return list(_failings(replays, run, most))


def _failings(replays: Replays, run: str, most: int) -> Iterator[Failing]:
    joined = failures.join(lanes, lanes.c.lane == failures.c.lane)
    alike = (lanes.c.model, failures.c.cause, failures.c.error)
    count = func.count().label("n")
    counted = select(*alike, count).select_from(joined).where(lanes.c.run == run)
    place = select(lanes.c.span, failures.c.input, failures.c.partition, failures.c.offset).select_from(joined)
    order = (lanes.c.number, failures.c.input, failures.c.partition, failures.c.offset)
    grouped = counted.group_by(*alike).order_by(count.desc(), *alike).limit(most)
    with replays.connected() as connection:
        for model, cause, error, n in connection.execute(grouped).all():
            same = and_(lanes.c.model == model, failures.c.cause == cause, failures.c.error == error)
            first = connection.execute(place.where(lanes.c.run == run, same).order_by(*order).limit(1)).one()
            topic = _spans.decode(first.span).topics[first.input]
            yield Failing(model, cause, error, n, topic, first.partition, first.offset)
