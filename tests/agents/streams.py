"""What an agent sees of one partition, made up: the lives of rides, uploads and cards, interleaved."""

import random
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from app.agent import Agent
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

START = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
WORDS = [
    "the",
    "a",
    "cat",
    "video",
    "review",
    "you",
    "idiot",
    "free",
    "money",
    "click",
    "here",
    "best",
    "song",
    "kill",
    "love",
    "http://x.yz",
    "100%",
    "WIN",
    "ünïcödé",
    "好",
]


def ride(number: int, rng: random.Random) -> list[Event]:
    """A ride through its whole life: requested, started, six positions, over."""
    at = START + timedelta(minutes=rng.uniform(0, 60 * 24 * 300))
    common: dict[str, Any] = {"user_id": f"u{number % 7}", "ride_id": f"r{number}"}
    ids = (f"r{number}.{i}" for i in count())
    lon, lat = rng.uniform(-74.02, -73.8), rng.uniform(40.6, 40.85)
    places = (Place(zone=rng.randint(1, 265)), Place(lat=lat, lon=lon))
    asked = RideRequested(
        event_id=next(ids),
        at=at,
        pickup=rng.choice(places),
        dropoff=rng.choice(places),
        pickup_at=rng.choice([None, at + timedelta(hours=rng.uniform(0, 48))]),
        passengers=rng.randint(1, 6),
        payment=rng.choice(["card", "cash"]),
        channel=rng.choice(["app", "web", "phone", "street"]),
        service=rng.choice(["point_to_point", "hourly", "intercity"]),
        route_km=rng.choice([None, rng.uniform(0, 30)]),
        **common,
    )
    positions = [
        RidePositioned(
            event_id=next(ids),
            at=at + timedelta(minutes=3 * i),
            lat=lat + rng.uniform(-0.02, 0.02),
            lon=lon + rng.uniform(-0.02, 0.02),
            travelled_km=rng.choice([None, 0.9 * i]),
            **common,
        )
        for i in range(1, 7)
    ]
    over: Event = RideCompleted(
        event_id=next(ids), at=at + timedelta(minutes=21), duration_min=21, fare_usd=17, **common
    )
    if rng.random() < 0.3:
        over = RideCancelled(event_id=next(ids), at=at + timedelta(minutes=21), **common)
    return [asked, RideStarted(event_id=next(ids), at=at + timedelta(minutes=1), **common), *positions, over]


def upload(number: int, rng: random.Random) -> list[Event]:
    """An upload and its update; now and then the words of an earlier one."""
    same = random.Random(number // 3)
    text = " ".join(same.choices(WORDS, k=same.randint(1, 80)))
    at = START + timedelta(seconds=number)
    common: dict[str, Any] = {"user_id": f"u{number % 7}", "upload_id": f"c{number}", "tags": ("fun", "news")}
    return [
        ContentUploaded(event_id=f"c{number}.0", at=at, title=text[:80], description=text, **common),
        ContentUpdated(event_id=f"c{number}.1", at=at, title=f"v2 {rng.choice(WORDS)}", text=text, **common),
    ]


def card(number: int, rng: random.Random) -> list[Event]:
    """What a card does over six weeks, some of it late, some of it reported as a fraud a week after."""
    days = [0.0, *(rng.uniform(0, 40) for _ in range(rng.randint(3, 12)))]
    made = [
        TransactionMade(
            event_id=f"t{number}.{i}",
            user_id=f"u{number}",
            at=START + timedelta(days=day),
            transaction_id=f"t{number}.{i}",
            card_id=f"card{number}",
            terminal_id=f"terminal{rng.randint(0, 3)}",
            source=rng.choice(["atm", "online", "pos"]),
            amount_usd=round(rng.lognormvariate(3.5, 1), 2),
        )
        for i, day in enumerate(sorted(days, key=lambda day: day + rng.choice([0, 0, 0, 5])))
    ]
    reports = [
        FraudReported(
            **{name: getattr(one, name) for name in one.__struct_fields__ if name not in {"event_id", "at"}},
            event_id=f"{one.event_id}.fraud",
            at=one.at + timedelta(days=7),
            made_at=one.at,
        )
        for one in made
        if rng.random() < 0.3
    ]
    return sorted([*made, *reports], key=lambda event: event.at + timedelta(days=rng.choice([0, 0, 3])))


def stream(agent: Agent, subjects: int = 40) -> list[Event]:
    """What an agent sees of one partition: the lives of many subjects, interleaved, each in its own order."""
    rng = random.Random(7)
    lives = [life(number, rng) for number in range(subjects) for life in (ride, upload, card)]
    lives = [[event for event in life if agent.sees(event)] for life in lives]
    mixed = []
    while lives := [life for life in lives if life]:
        mixed.append(rng.choice(lives[:12]).pop(0))
    return mixed
