"""Events in rows: Parquet, CSV and SQL, each row through the decoder of its topic."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import create_engine, select, text

from agents._cards import Cards
from app.agent import find
from app.codec import Decoder
from app.errors import ConfigurationError
from app.events import AnyRide, AnyTransaction, RideRequested
from app.modes.replay.files import RowSource, default_type, event_tag, lanes, open_table
from app.modes.replay.plan import Chosen, Rows
from app.modes.replay.score import load
from app.registry import Registry, shipped_root
from app.sql.replay_schema import failures

AT = datetime(2023, 2, 14, 8, 30, tzinfo=UTC)
TAG = "millrace.ride.requested.v1"
COUNT = 250


@pytest.fixture
def columns() -> dict[str, Any]:
    numbers = range(COUNT)
    return {
        "event_id": [f"e{n}" for n in numbers],
        "user_id": [f"u{n % 7}" for n in numbers],
        "ride_id": [f"r{n}" for n in numbers],
        "at": [AT + timedelta(seconds=n, microseconds=n) for n in numbers],
        "pickup.zone": [1 + n % 263 for n in numbers],
        "dropoff.zone": [None if n % 5 == 0 else 7 for n in numbers],
        "dropoff.lat": [40.7 if n % 5 == 0 else None for n in numbers],
        "dropoff.lon": [-73.9 if n % 5 == 0 else None for n in numbers],
        "passengers": [None if n % 3 == 0 else 2 for n in numbers],
    }


def table(columns: dict[str, Any]) -> pa.Table:
    return pa.table({**columns, "at": pa.array(columns["at"], pa.timestamp("us", "UTC"))})


async def read(rows: Rows, most: int = 60, position: int = 0, url: str = "sqlite://") -> list[RideRequested]:
    """Every event, read span by span as a worker does."""
    source, agent = RowSource(open_table(rows, url), "rows", rows.events, most), find("cost")
    decoder, events = Decoder[Any](AnyRide), []
    for span in await source.spans(agent):
        async for piece in source.slices(span, position):
            events += [decoder.decode(record.value) for record in piece.records]
            last = piece.position
        assert last == span.size
    return events


def check(events: list[RideRequested], columns: dict[str, Any]) -> None:
    assert [event.event_id for event in events] == columns["event_id"]
    assert [event.at for event in events] == columns["at"]
    assert [event.passengers for event in events] == [seats or 1 for seats in columns["passengers"]]
    assert [event.dropoff.lat for event in events] == columns["dropoff.lat"]
    assert [event.pickup.zone for event in events] == columns["pickup.zone"]


async def test_parquet_in_row_groups_of_its_own(columns: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rides.parquet"
    pq.write_table(table(columns), path, row_group_size=37)
    check(await read(Rows("table", str(path), TAG)), columns)
    assert len(await read(Rows("table", str(path), TAG), position=100)) == COUNT - 100


async def test_lanes_of_parquet_lie_between_row_groups(columns: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rides.parquet"
    pq.write_table(table(columns), path, row_group_size=100)
    opened = open_table(Rows("table", str(path), TAG), "sqlite://")
    assert (list(opened.borders), opened.count()) == ([0, 100, 200], COUNT)
    for first, end in ((0, 100), (100, 200), (150, 230), (249, 250), (7, 7)):
        read = [value for piece in opened.values(first, end) for value in piece]
        assert [msgspec.json.decode(value)["event_id"] for value in read] == columns["event_id"][first:end]


async def test_an_empty_file_has_no_lanes(columns: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rides.parquet"
    pq.write_table(table(columns).slice(0, 0), path)
    source = RowSource(open_table(Rows("table", str(path), TAG), "sqlite://"), "rides", TAG)
    assert await source.spans(find("cost")) == []


@pytest.mark.parametrize("groups", [[1_000] * 500, [122_880] * 12, [1_048_576, 500_000], [300_000] * 3, [10]])
def test_lanes_cover_every_row_once(groups: list[int]) -> None:
    borders = [0, *accumulate(groups)][:-1]
    found = list(lanes(borders, sum(groups)))
    assert [row for first, end in found for row in (first, end)] == sorted(
        [0, *(border for _, border in found[:-1] for _ in range(2)), sum(groups)]
    )
    assert all(end - first <= max(131_072, -(-max(groups) // 4)) for first, end in found)
    assert len(found) >= min(4, sum(groups) // 131_072)


async def test_parquet_with_places_as_structs(columns: dict[str, Any], tmp_path: Path) -> None:
    flat = {name: values for name, values in columns.items() if "." not in name}
    places = zip(*(columns[f"dropoff.{name}"] for name in ("zone", "lat", "lon")), strict=True)
    flat["pickup"] = [{"zone": zone} for zone in columns["pickup.zone"]]
    flat["dropoff"] = [{"zone": zone, "lat": lat, "lon": lon} for zone, lat, lon in places]
    path = tmp_path / "rides.parquet"
    pq.write_table(table(flat), path)
    check(await read(Rows("table", str(path), TAG)), columns)


async def test_csv(columns: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    pc.write_csv(pa.table({**columns, "at": [at.isoformat() for at in columns["at"]]}), path)
    check(await read(Rows("table", str(path), TAG)), columns)


async def test_a_query(columns: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rides.db'}"
    names = list(columns)
    quoted = ", ".join(f'"{name}"' for name in names)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE rides ({quoted})"))
        rows = zip(*columns.values(), strict=True)
        listed = [tuple(v.isoformat() if isinstance(v, datetime) else v for v in row) for row in rows]
        connection.exec_driver_sql(f"INSERT INTO rides VALUES ({', '.join('?' * len(names))})", listed)
    engine.dispose()
    query = Rows("sql", "SELECT * FROM rides ORDER BY CAST(substr(event_id, 2) AS INTEGER);", TAG)
    check(await read(query, url=url), columns)
    assert len(await read(query, position=100, url=url)) == COUNT - 100


async def test_a_query_without_an_order_cannot_be_continued() -> None:
    with pytest.raises(ConfigurationError, match="ORDER BY"):
        open_table(Rows("sql", "SELECT * FROM rides"), "sqlite://")


async def test_a_query_that_is_wrong_says_why(tmp_path: Path) -> None:
    table = open_table(Rows("sql", "SELECT * FROM nowhere ORDER BY 1"), f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(ConfigurationError, match="no such table"):
        table.count()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.parquet", None, "no such file"),
        ("not.parquet", b"hello", "not a readable Parquet file"),
        ("rides.xlsx", b"", "are read from .parquet and .csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{name}.*{says}"):
        open_table(Rows("table", str(path)), "sqlite://")


async def test_instants_without_a_zone_are_refused(columns: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rides.parquet"
    naive = [at.replace(tzinfo=None) for at in columns["at"]]
    pq.write_table(pa.table({**columns, "at": pa.array(naive, pa.timestamp("us"))}), path)
    with pytest.raises(ConfigurationError, match="need a time zone"):
        await read(Rows("table", str(path), TAG))


async def test_a_row_that_is_no_event_fails_as_it_would_on_a_topic(columns: dict[str, Any], desk: Any) -> None:
    columns["pickup.zone"][3] = 999
    path = desk.directory / "rides.parquet"
    pq.write_table(table(columns), path)
    source = RowSource(open_table(Rows("table", str(path), TAG), "sqlite://"), "rides.parquet", TAG)
    book = await desk.begun("r", "cost", source)
    await desk.worker(book, "cost", source).run()
    assert book.standing()[2:4] == (COUNT - 1, 1)
    with desk.replays.connected() as connection:
        (failed,) = connection.execute(select(failures)).all()
    assert (failed.offset, failed.cause) == (3, "invalid_message")
    assert failed.error.startswith("pickup.zone:")


async def test_rows_that_rest_on_no_state_go_without_one(columns: dict[str, Any], desk: Any) -> None:
    """So workers can share them, where a file that may hold anything is one lane; the answers are the same."""
    kept = {}
    for name, more in (("requests", {}), ("anything", {"type": [TAG] * COUNT})):
        path = desk.directory / f"{name}.parquet"
        pq.write_table(table(columns | more), path)
        source = RowSource(open_table(Rows("table", str(path), TAG), "sqlite://"), name, TAG, most=40)
        (span,) = await source.spans(find("duration"))
        assert span.state == (name == "anything")
        kept[name] = await desk.done(name, "duration", source)
    assert kept["requests"] == kept["anything"]
    assert len(kept["requests"]) == COUNT


async def test_transactions_and_reports_in_one_file(desk: Any) -> None:
    """In the order of its rows; an id may look like a number."""
    rows = [
        {
            "type": "millrace.transaction.made.v1",
            "event_id": str(number),
            "user_id": "7",
            "at": (AT + timedelta(hours=number)).isoformat(),
            "transaction_id": str(number),
            "card_id": str(100 + number % 5),
            "terminal_id": str(number % 3),
            "source": ("atm", "online", "pos")[number % 3],
            "amount_usd": 10.0 + number * 7 % 90,
        }
        for number in range(60)
    ]
    rows[30] |= {"type": "millrace.transaction.fraud_reported.v1", "made_at": AT.isoformat()}
    path = desk.directory / "bank.csv"
    pc.write_csv(pa.Table.from_pylist([{"made_at": None, **row} for row in rows]), path)
    source = RowSource(open_table(Rows("table", str(path)), "sqlite://"), "bank.csv", most=16)
    kept = await desk.done("r", "fraud", source)

    ready = load(Chosen("fraud", "1"), Registry(shipped_root()))
    state, said = Cards(), {}
    for number, row in enumerate(rows):
        event = msgspec.convert({name: value for name, value in row.items() if value is not None}, AnyTransaction)
        said[number] = ready.agent.score(ready.model, [event], state).values.item()
    assert {row[1]: row[4] for row in kept} == {number: value for number, value in said.items() if number != 30}
    assert said[33] != said[27]  # at the terminal of the report


def test_a_row_is_what_opens_the_agents_subject() -> None:
    assert default_type(find("duration")) == TAG
    assert default_type(find("spam")) == "millrace.content.uploaded.v1"
    assert event_tag("RideRequested") == TAG
    with pytest.raises(ConfigurationError, match="RideRequested"):
        event_tag("RideWanted")
