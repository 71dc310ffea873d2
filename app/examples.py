"""One valid event of each type: a worker warms its model up with them, the tests and the docs start from them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.events import (
    ContentUpdated,
    ContentUploaded,
    Event,
    FraudReported,
    Place,
    RideCancelled,
    RideCompleted,
    RidePositioned,
    RideRequested,
    RideStarted,
    TransactionMade,
)

AT = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
_MANHATTAN, _JFK = Place(zone=236), Place(zone=132)
_PURCHASE: dict[str, Any] = {"card_id": "c-1", "terminal_id": "shop-1", "source": "pos", "amount_usd": 42.5}

EXAMPLES: tuple[Event, ...] = (
    RideRequested(event_id="e-1", user_id="u-1", at=AT, ride_id="r-1", pickup=_MANHATTAN, dropoff=_JFK),
    RideStarted(event_id="e-2", user_id="u-1", at=AT, ride_id="r-1"),
    RidePositioned(event_id="e-3", user_id="u-1", at=AT, ride_id="r-1", lat=40.75, lon=-73.98, travelled_km=1.2),
    RideCompleted(event_id="e-4", user_id="u-1", at=AT, ride_id="r-1", duration_min=41.5, fare_usd=52.0, tip_usd=9.0),
    RideCancelled(event_id="e-5", user_id="u-1", at=AT, ride_id="r-1"),
    ContentUploaded(event_id="e-6", user_id="u-1", at=AT, upload_id="v-1", title="How to sharpen a kitchen knife"),
    ContentUpdated(event_id="e-7", user_id="u-1", at=AT, upload_id="v-1", title="Sharpen any knife", tags=("diy",)),
    TransactionMade(event_id="e-8", user_id="u-1", at=AT, transaction_id="t-1", **_PURCHASE),
    FraudReported(
        event_id="e-9", user_id="u-1", at=AT + timedelta(days=7), transaction_id="t-1", made_at=AT, **_PURCHASE
    ),
)
