"""The other loaders, against what is known of their files."""

from pathlib import Path

import numpy as np

from app.events import RidePositioned, RideRequested, RideStarted
from training.data import chengdu, yourcabs, zones
from training.recipe import Job


def test_the_shipped_zone_table_is_what_the_data_gives(datasets: Path) -> None:
    assert zones.table(Job(datasets)) == zones.SHIPPED.read_text(encoding="utf-8")


def test_bookings_come_in_order_of_booking(datasets: Path) -> None:
    bookings = yourcabs.read(datasets / "cancellation/yourcabs_2013.csv")
    assert len(bookings.requests) == len(bookings.cancelled) == 7000
    assert bookings.cancelled.sum() == 361
    times = [request.at for request in bookings.requests]
    assert times == sorted(times)
    assert {request.channel for request in bookings.requests} == {"app", "web", "phone"}


def test_a_trajectory_becomes_the_events_of_a_ride(datasets: Path) -> None:
    trips = chengdu.read(datasets / "trajectories/chengdu.jsonl")
    assert len(trips) == 1400
    trip = trips[0]
    asked, started, *positions = chengdu.events(trip, "c0", chengdu.Shift())
    assert isinstance(asked, RideRequested)
    assert isinstance(started, RideStarted)
    assert all(isinstance(position, RidePositioned) for position in positions)
    assert len(positions) == len(trip.lats) - 1
    assert (positions[-1].at - started.at).total_seconds() == trip.time_gap[-2] < trip.time
    assert (asked.dropoff.lat, asked.dropoff.lon) == (trip.lats[-1], trip.lngs[-1])


def test_told_dropoffs_are_off_by_as_much_as_asked() -> None:
    shifts = chengdu.shifts(4000, 0.6, np.random.default_rng(1))
    assert 0.57 < np.std([shift.lon * 111.195 for shift in shifts]) < 0.63
