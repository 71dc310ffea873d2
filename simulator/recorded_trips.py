"""Real trips, from a monthly file of the New York TLC: each becomes the life of a ride in event time.

The other source of rides beside `trips`. The files are read defensively: a month holds negative fares, trips of no or of
many hours, and trips dated years away. What is left out is counted, by reason.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agents._calendar import NEW_YORK
from app.errors import ConfigurationError
from app.events import Place, RideCompleted, RideRequested, RideStarted
from simulator.city import KM_PER_MILE
from simulator.errors import UnreadableRecording
from simulator.plan import Life
from simulator.ride import Ride

if TYPE_CHECKING:
    import pyarrow as pa

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=60)
"""As in the reference results: outside, the meter was left running or the trip never began."""

PLAIN = (
    "passenger_count",
    "trip_distance",
    "fare_amount",
    "tip_amount",
    "payment_type",
    "PULocationID",
    "DOLocationID",
)
CARD = 1
"""TLC data dictionary: payment_type 1 is a credit card; only such tips are recorded."""

DAY = timedelta(days=1)
LONGEST_KM = 2000.0
MOST_USD = 10_000.0


class RecordedTrips:
    """The trips of one TLC file (green or yellow), in order of their pick-up.

    Args:
        path: the parquet file.
        run: sets the ids of one replay apart from those of every other.
        users: how many riders the trips are dealt out to; the TLC does not say who rode.

    Attributes:
        skipped: why trips were left out, and how many; complete when `lives` has come to its end.

    Raises `UnreadableRecording` when it is no such file.
    """

    def __init__(self, path: Path, run: str, users: int = 200) -> None:
        self._run, self._users = run, users
        self._table = _read(path)
        self._first, self._last = _month(self._table, path)
        self.skipped: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many rows there are, good and bad."""
        return int(self._table.num_rows)

    def lives(self) -> Iterator[Life]:
        """One life per usable trip: requested and started at its pick-up, completed at its drop-off."""
        self.skipped.clear()
        number = 0
        for batch in self._table.to_batches(max_chunksize=8192):
            for row in batch.to_pylist():
                if problem := self._problem(row):
                    self.skipped[problem] += 1
                    continue
                yield self._life(number, row)
                number += 1

    def _problem(self, row: dict[str, Any]) -> str | None:
        """Why a row is no usable trip."""
        pickup, dropoff = row["pickup"], row["dropoff"]
        if pickup is None or dropoff is None:
            return "without a pick-up or drop-off time"
        if not self._first <= pickup < self._last:
            return f"dated outside {self._first + DAY:%B %Y}"
        if not SHORTEST <= dropoff - pickup <= LONGEST:
            return "shorter than 1 or longer than 60 minutes"
        if not all(1 <= _number(row[end]) <= 265 for end in ("PULocationID", "DOLocationID")):
            return "without a known zone"
        fare = row["fare_amount"]
        if fare is None or not 0 < fare <= MOST_USD:
            return "with a fare that is not positive"
        return None

    def _life(self, number: int, row: dict[str, Any]) -> Life:
        ride = Ride(f"r-{self._run}-{number}", f"rider-{number % self._users}")
        pickup, dropoff = _instant(row["pickup"]), _instant(row["dropoff"])
        card = row["payment_type"] == CARD
        return (
            RideRequested(
                **ride.header("requested", pickup),
                pickup=Place(zone=_number(row["PULocationID"])),
                dropoff=Place(zone=_number(row["DOLocationID"])),
                passengers=min(9, max(1, _number(row["passenger_count"]))),
                payment="card" if card else "cash",
                channel="street",
            ),
            RideStarted(**ride.header("started", pickup)),
            RideCompleted(
                **ride.header("completed", dropoff),
                duration_min=(dropoff - pickup).total_seconds() / 60,
                fare_usd=row["fare_amount"],
                tip_usd=min(MOST_USD, max(0.0, row["tip_amount"] or 0.0)) if card else None,
                distance_km=_kilometres(row["trip_distance"]),
            ),
        )


def _read(path: Path) -> "pa.Table":
    """The columns we use, sorted by pick-up; the TLC names the times differently for green and yellow cabs."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigurationError("reading parquet needs pyarrow: pip install 'millrace[train]'") from error
    if not path.is_file():
        raise UnreadableRecording(path, "there is no such file")
    try:
        file = pq.ParquetFile(path)
        kind: Literal["lpep", "tpep"] = "lpep" if "lpep_pickup_datetime" in file.schema_arrow.names else "tpep"
        times = {f"{kind}_pickup_datetime": "pickup", f"{kind}_dropoff_datetime": "dropoff"}
        if missing := {*times, *PLAIN} - set(file.schema_arrow.names):
            raise UnreadableRecording(path, f"it has no column {', '.join(sorted(missing))}; is it a TLC trip file?")
        table = file.read(columns=[*times, *PLAIN])
        for name in times:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table[name].cast(pa.timestamp("us")))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UnreadableRecording(path, f"it is not a readable parquet file ({error})") from error
    return table.rename_columns([times.get(name, name) for name in table.column_names]).sort_by("pickup")


def _month(table: "pa.Table", path: Path) -> tuple[datetime, datetime]:
    """The month most trips were in, with a day on either side, on the wall clock of New York."""
    import pyarrow.compute as pc

    months = pc.strftime(table["pickup"].drop_null(), format="%Y-%m").value_counts().to_pylist()
    if not months:
        raise UnreadableRecording(path, "it holds no trips")
    first = datetime.fromisoformat(max(months, key=lambda row: row["counts"])["values"] + "-01")
    return first - DAY, (first + 32 * DAY).replace(day=1) + DAY


def _number(value: object) -> int:
    """A count or zone id, which the months hold as int, float, text or null; 0 for what is none."""
    try:
        return int(float(value))  # type: ignore[arg-type]  # what is not a number is caught
    except (TypeError, ValueError, OverflowError):
        return 0


def _instant(local: datetime) -> datetime:
    """The TLC writes the wall clock of New York; told in its own offset, so the hour of the day can still be read."""
    return local.replace(tzinfo=NEW_YORK).astimezone(UTC).astimezone(NEW_YORK)


def _kilometres(miles: float | None) -> float | None:
    """A trip's length; `None` for the meter errors (tens of thousands of miles)."""
    return miles * KM_PER_MILE if miles is not None and 0 <= miles * KM_PER_MILE <= LONGEST_KM else None
