"""Whose ride, and what each of its events carries; shared by the made-up and the recorded trips."""

from datetime import datetime
from typing import NamedTuple, TypedDict


class Header(TypedDict):
    """The fields all events of a ride have."""

    event_id: str
    user_id: str
    ride_id: str
    at: datetime


class Ride(NamedTuple):
    """A ride and its rider."""

    ride_id: str
    user_id: str

    def header(self, step: str, at: datetime) -> Header:
        """What the event of this step carries; its id says which step it is, so that a resend is recognised."""
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        return Header(event_id=f"{self.ride_id}.{step}", user_id=self.user_id, ride_id=self.ride_id, at=at)
