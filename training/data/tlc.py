"""The TLC's own monthly trip files, green or yellow, as ride requests and how they came out.

https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page; raw months hold negative fares, empty trips and dates of
other years, so every row is checked before it counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from agents._calendar import NEW_YORK
from app.events import Place, RideRequested

KM_PER_MILE = 1.609344
SHORTEST_MIN, LONGEST_MIN = 1.0, 60.0
"""Outside, a trip is a meter left running or never started (the cut of the MLOps Zoomcamp, which sets the reference)."""

CARD, CASH = 1, 2
_MONTH = re.compile(r"(\d{4})-(\d{2})")


@dataclass(frozen=True)
class Trips:
    """n trips. Minutes, kilometres, dollars.

    Attributes:
        pickup_s: seconds since 1970, UTC.
        payment: the TLC's code: 1 card, 2 cash; 0 where it is not recorded.
        distance_km: by the meter, known at drop-off only.
    """

    pickup_s: NDArray[np.float64]
    pickup: NDArray[np.int64]
    dropoff: NDArray[np.int64]
    passengers: NDArray[np.int64]
    payment: NDArray[np.int64]
    duration_min: NDArray[np.float64]
    distance_km: NDArray[np.float64]
    fare_usd: NDArray[np.float64]
    tip_usd: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pickup_s)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """The chosen rows."""
        return type(self)(**{name: column[chosen] for name, column in vars(self).items()})

    def requests(self) -> list[RideRequested]:
        """The trips as the events somebody would have sent before they began."""
        zones = [Place(zone=zone) for zone in range(1, 266)]
        return [
            RideRequested(
                event_id=f"t{row}",
                user_id="t",
                ride_id=f"t{row}",
                at=datetime.fromtimestamp(at, UTC),
                pickup=zones[start - 1],
                dropoff=zones[end - 1],
                passengers=seats,
                payment="card" if paid == CARD else "cash",
            )
            for row, (at, start, end, seats, paid) in enumerate(
                zip(
                    self.pickup_s.tolist(),
                    self.pickup.tolist(),
                    self.dropoff.tolist(),
                    self.passengers.tolist(),
                    self.payment.tolist(),
                    strict=True,
                )
            )
        ]


def together(parts: Sequence[Trips]) -> Trips:
    """Several months as one."""
    return Trips(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def read(path: Path) -> Trips:
    """The plausible trips of one monthly file, in order of pickup; the month is read from its name."""
    import pyarrow.parquet  # an optional dependency: only training has it

    table = pyarrow.parquet.read_table(path)
    color = "lpep" if "lpep_pickup_datetime" in table.column_names else "tpep"
    pickup, dropoff = (
        table[f"{color}_{end}_datetime"].to_numpy().astype("datetime64[us]") for end in ("pickup", "dropoff")
    )

    def numbers(name: str, missing: float = np.nan) -> NDArray[np.float64]:
        column = table[name].cast("float64").to_numpy()
        return np.where(np.isnan(column), missing, column)

    trips = Trips(
        pickup_s=_utc(pickup),
        pickup=numbers("PULocationID", 0).astype(np.int64),
        dropoff=numbers("DOLocationID", 0).astype(np.int64),
        passengers=np.clip(numbers("passenger_count", 1), 1, 9).astype(np.int64),
        payment=numbers("payment_type", 0).astype(np.int64),
        duration_min=(dropoff - pickup) / np.timedelta64(1, "m"),
        distance_km=numbers("trip_distance") * KM_PER_MILE,
        fare_usd=numbers("fare_amount"),
        tip_usd=numbers("tip_amount"),
    )
    plausible = (
        (trips.duration_min >= SHORTEST_MIN)
        & (trips.duration_min <= LONGEST_MIN)
        & (np.minimum(trips.pickup, trips.dropoff) >= 1)
        & (np.maximum(trips.pickup, trips.dropoff) <= 265)
        & _in_month(pickup, path)
    )
    return trips.where(np.flatnonzero(plausible)[np.argsort(trips.pickup_s[plausible], kind="stable")])


def _in_month(pickup: NDArray[np.datetime64], path: Path) -> NDArray[np.bool_]:
    """Within a day of the month the file's name says; everything, where it says none."""
    named = _MONTH.search(path.name)
    if named is None:
        return np.ones(len(pickup), np.bool_)
    month = np.datetime64(f"{named[1]}-{named[2]}", "M")
    day = np.timedelta64(1, "D")
    inside = (pickup >= month.astype("datetime64[D]") - day) & (pickup < (month + 1).astype("datetime64[D]") + day)
    return np.asarray(inside, np.bool_)


def _utc(local: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """New York wall-clock time -> seconds since 1970; of the doubled hour in November, the first."""
    hours = local.astype("datetime64[h]")
    unique, place = np.unique(hours, return_inverse=True)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    shown = [datetime(1970, 1, 1) + timedelta(hours=int(hour)) for hour in unique.astype(np.int64)]  # noqa: DTZ001  # wall-clock
    starts = np.array([(hour.replace(tzinfo=NEW_YORK) - epoch).total_seconds() for hour in shown])
    return np.asarray(starts[place] + (local - hours) / np.timedelta64(1, "s"), np.float64)
