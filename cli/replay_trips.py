"""The TLC's own monthly files as events to replay: `simulator.recorded_trips` reads them, `app.modes.replay` scores them."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from app.codec import encode
from app.errors import ConfigurationError
from simulator.recorded_trips import RecordedTrips

TRIPS = "trips"
"""`Rows.kind` of such a file."""

_PIECE = 4096


def is_trips(path: Path) -> bool:
    """Whether a file is one of the TLC's, green or yellow, by its columns."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigurationError("files need pyarrow: pip install 'millrace[train]'") from error
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError):
        return False  # whoever reads it says what is wrong
    return bool({"lpep_pickup_datetime", "tpep_pickup_datetime"} & set(names))


class TripTable:
    """The usable trips of a file, requested, started and completed; the same ids each time."""

    borders: Sequence[int] = ()
    only: str | None = None

    def __init__(self, path: Path) -> None:
        self._trips = RecordedTrips(path, path.stem.replace("_", "-"))

    def count(self) -> int:
        return sum(len(life) for life in self._trips.lives())

    def values(self, first: int, end: int) -> Iterator[list[bytes]]:
        events = islice(chain.from_iterable(self._trips.lives()), first, end)
        while piece := [encode(event) for event in islice(events, _PIECE)]:
            yield piece
