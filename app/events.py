"""Events: past-tense facts that enter through the gateway and live on the topics of rides, uploads and transactions.

Each message is frozen, and its version is part of its type tag: a change that is not a new field with a default
is a new tag. The tag is also the CloudEvents `ce_type`, so one string names a message everywhere.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

# Printable, URL- and log-safe, bounded: an id is used as a Kafka key, a Redis key and a path segment.
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*\Z")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339, with an offset")]
YEARS = frozenset(range(1970, 2200))
"""Of every instant. Near the years 1 and 9999 one may have no UTC, and whoever brings it there would stop."""

NO_YEAR = f"not between the years {min(YEARS)} and {max(YEARS)}"

Latitude = Annotated[float, Meta(ge=-90, le=90, description="degrees, WGS 84")]
Longitude = Annotated[float, Meta(ge=-180, le=180, description="degrees, WGS 84")]
Zone = Annotated[int, Meta(ge=1, le=265, description="NYC TLC taxi zone")]
Kilometres = Annotated[float, Meta(ge=0, le=2000)]
Minutes = Annotated[float, Meta(ge=0, le=1440)]
Dollars = Annotated[float, Meta(ge=0, le=10_000)]
Amount = Annotated[float, Meta(ge=0, le=1_000_000, description="US dollars")]
Source = Literal["atm", "online", "pos"]

Kind = Literal["ride", "upload", "transaction"]


def _no_year(field: str) -> ValueError:
    return ValueError(f"`{field}` is {NO_YEAR}")


class Place(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a ride begins or ends: a taxi zone, or a point; never both, never neither."""

    zone: Zone | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None

    def __post_init__(self) -> None:
        if self.zone is None:
            if self.lat is None or self.lon is None:
                raise ValueError("give a zone, or both lat and lon")
        elif self.lat is not None or self.lon is not None:
            raise ValueError("give a zone or a point (lat and lon), not both")


class Event(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every event carries.

    Attributes:
        event_id: unique per event; a resend carries the same one.
        user_id: who it concerns, and the only one who may see what is decided.
        at: event time: when it happened, not when it was received.
    """

    kind: ClassVar[Kind]

    event_id: Id
    user_id: Id
    at: Instant

    def __post_init__(self) -> None:
        if self.at.year not in YEARS:  # in line: a call would double what this costs
            raise _no_year("at")

    @property
    def key(self) -> str:
        """The Kafka key: events that share it keep their order, and meet in one worker."""
        return self.user_id


class RideEvent(Event, frozen=True, gc=False, kw_only=True):
    kind: ClassVar[Kind] = "ride"

    ride_id: Id

    @property
    def subject_id(self) -> str:
        return self.ride_id


class RideRequested(RideEvent, frozen=True, gc=False, kw_only=True, tag="millrace.ride.requested.v1"):
    """Somebody asked for a ride; opens the subject, and every ride agent answers it.

    Attributes:
        pickup_at: when the ride is to start (event time `at` when it is for now).
        route_km: length of the planned route, as the client's navigation gives it; never the meter's distance at drop-off.
    """

    pickup: Place
    dropoff: Place
    pickup_at: Instant | None = None
    passengers: Annotated[int, Meta(ge=1, le=9)] = 1
    payment: Literal["card", "cash"] = "card"
    channel: Literal["app", "web", "phone", "street"] = "app"
    service: Literal["point_to_point", "hourly", "intercity"] = "point_to_point"
    route_km: Kilometres | None = None

    def __post_init__(self) -> None:
        if self.at.year not in YEARS:
            raise _no_year("at")
        if self.pickup_at is not None and self.pickup_at.year not in YEARS:
            raise _no_year("pickup_at")


class RideStarted(RideEvent, frozen=True, gc=False, kw_only=True, tag="millrace.ride.started.v1"):
    """The passenger is in the car."""


class RidePositioned(RideEvent, frozen=True, gc=False, kw_only=True, tag="millrace.ride.positioned.v1"):
    """The car reported where it is.

    Attributes:
        travelled_km: driven since the start, by the meter; the agent sums the points where it is absent.
    """

    lat: Latitude
    lon: Longitude
    travelled_km: Kilometres | None = None


class RideCompleted(RideEvent, frozen=True, gc=False, kw_only=True, tag="millrace.ride.completed.v1"):
    """The ride is over: the ground truth of its predictions."""

    duration_min: Minutes
    fare_usd: Dollars
    tip_usd: Dollars | None = None
    distance_km: Kilometres | None = None


class RideCancelled(RideEvent, frozen=True, gc=False, kw_only=True, tag="millrace.ride.cancelled.v1"):
    """The ride will not take place: the other ground truth."""

    by: Literal["rider", "driver", "system"] = "rider"
    reason: Annotated[str, Meta(max_length=500)] = ""


class UploadEvent(Event, frozen=True, gc=False, kw_only=True):
    kind: ClassVar[Kind] = "upload"

    upload_id: Id
    title: Annotated[str, Meta(min_length=1, max_length=500)]
    description: Annotated[str, Meta(max_length=20_000)] = ""
    tags: Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=200)] = ()
    text: Annotated[str, Meta(max_length=100_000)] = ""

    @property
    def subject_id(self) -> str:
        return self.upload_id


class ContentUploaded(UploadEvent, frozen=True, gc=False, kw_only=True, tag="millrace.content.uploaded.v1"):
    """Somebody published something; opens the subject, and every content agent answers it."""


class ContentUpdated(UploadEvent, frozen=True, gc=False, kw_only=True, tag="millrace.content.updated.v1"):
    """The uploader changed it: judged afresh, as a new revision of the same subject."""


class TransactionEvent(Event, frozen=True, gc=False, kw_only=True):
    """Of a card: keyed by it, for its history is what tells a fraud.

    Attributes:
        user_id: the card holder.
        source: the terminal is a cash machine, a web shop or a till; it chooses the topic.
    """

    kind: ClassVar[Kind] = "transaction"

    transaction_id: Id
    card_id: Id
    terminal_id: Id
    source: Source
    amount_usd: Amount

    @property
    def subject_id(self) -> str:
        return self.transaction_id

    @property
    def key(self) -> str:
        return self.card_id


class TransactionMade(TransactionEvent, frozen=True, gc=False, kw_only=True, tag="millrace.transaction.made.v1"):
    """A card was used; opens the subject, and `fraud` answers it."""


class FraudReported(
    TransactionEvent, frozen=True, gc=False, kw_only=True, tag="millrace.transaction.fraud_reported.v1"
):
    """The card holder disputed a transaction, days later as a rule: the ground truth of its prediction.

    Attributes:
        at: when it was reported.
        made_at: when the transaction was made; the other fields repeat the transaction's.
    """

    made_at: Instant

    def __post_init__(self) -> None:
        if self.at.year not in YEARS:
            raise _no_year("at")
        if self.made_at.year not in YEARS:
            raise _no_year("made_at")


AnyRide = RideRequested | RideStarted | RidePositioned | RideCompleted | RideCancelled
AnyUpload = ContentUploaded | ContentUpdated
AnyTransaction = TransactionMade | FraudReported
AnyEvent = AnyRide | AnyUpload | AnyTransaction

OPENING: tuple[type[Event], ...] = (RideRequested, ContentUploaded, ContentUpdated, TransactionMade)
"""The events that ask for a decision; the others correct one or tell how it came out."""
