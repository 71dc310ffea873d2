"""Transactions in: one, or a stream of them; who may speak for whom; what a stream may not do."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app import codec
from app.errors import DeliveryFailed
from app.events import AnyTransaction, FraudReported, TransactionMade
from app.testing import MemoryBus
from app.tokens import BANK_SCOPES, USER_SCOPES, mint
from app.topics import CHARGEBACKS, TRANSACTIONS
from gateway.follow import Limits

PURCHASE: dict[str, Any] = {"card_id": "c-1", "terminal_id": "till-1", "source": "pos", "amount_usd": 42.5}
events: codec.Decoder[AnyTransaction] = codec.Decoder(AnyTransaction)


def sent(bus: MemoryBus, *topics: str) -> list[AnyTransaction]:
    names = topics or [topic.name for topic in TRANSACTIONS.values()]
    return [events.decode(each.value) for name in names for each in bus.records(name)]


@pytest.fixture
async def bank(served) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks for the bank."""
    headers = {"Authorization": f"Bearer {mint(served.settings, 'core-banking', BANK_SCOPES)}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=20) as made:
        yield made


async def stream(client: httpx.AsyncClient, body: bytes | AsyncIterator[bytes], **headers: str) -> httpx.Response:
    said = {"Content-Type": "application/x-ndjson", **headers}
    return await client.post("/v1/transactions", content=body, headers=said)


def ndjson(*lines: dict[str, Any] | bytes) -> bytes:
    return b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)


def purchases(n: int, **fields: Any) -> Iterable[dict[str, Any]]:
    return (
        {**PURCHASE, "transaction_id": f"t-{i}", "card_id": f"c-{i % 7}", "user_id": f"u-{i % 7}", **fields}
        for i in range(n)
    )


@pytest.mark.parametrize("source", ["atm", "online", "pos"])
async def test_the_source_chooses_the_topic_and_the_card_the_partition(client, bus, namespace, source) -> None:
    response = await client.post("/v1/transactions", json={**PURCHASE, "source": source})
    assert response.status_code == 202
    said = response.json()
    assert said.keys() == {"event_id", "transaction_id", "topic", "partition", "offset"}
    (record,) = bus.records(f"transactions.{source}")
    assert (said["topic"], record.key) == (f"transactions.{source}", b"c-1")
    (made,) = sent(bus)
    assert isinstance(made, TransactionMade)
    assert (made.user_id, made.transaction_id, made.amount_usd) == (namespace, said["transaction_id"], 42.5)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"source": "phone"}, "source"),
        ({"amount_usd": -1}, "amount_usd"),
        ({"amount_usd": 1e999}, ""),
        ({"card_id": ""}, "card_id"),
        ({"card_id": None}, "card_id"),
        ({"terminal_id": "a b"}, "terminal_id"),
        ({"user_id": "somebody-else"}, "user_id"),
        ({"at": "yesterday"}, "at"),
        ({"cvv": "123"}, "cvv"),
    ],
)
async def test_a_bad_one_is_refused_and_its_field_is_named(client, bus, change, field) -> None:
    body = json.dumps({**PURCHASE, **change})
    response = await client.post("/v1/transactions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json().get("field", "") == field
    assert sent(bus) == []


async def test_the_same_transaction_again_is_the_same_event(client, bus) -> None:
    one, two = [await client.post("/v1/transactions", json={**PURCHASE, "transaction_id": "t-1"}) for _ in range(2)]
    assert one.json()["event_id"] == two.json()["event_id"]
    fraud = {**PURCHASE, "made_at": "2026-01-01T00:00:00Z"}
    reports = [await client.post("/v1/transactions/t-1/fraud", json=fraud) for _ in range(2)]
    assert {each.json()["event_id"] for each in reports}.isdisjoint({one.json()["event_id"]})
    assert len({each.json()["event_id"] for each in reports}) == 1


async def test_a_fraud_is_reported(client, bus, namespace) -> None:
    fraud = {**PURCHASE, "made_at": "2026-01-01T00:00:00Z", "at": "2026-01-08T00:00:00Z"}
    response = await client.post("/v1/transactions/t-9/fraud", json=fraud)
    assert response.status_code == 202
    assert response.json()["topic"] == CHARGEBACKS.name
    (report,) = sent(bus, CHARGEBACKS.name)
    assert isinstance(report, FraudReported)
    assert (report.user_id, report.transaction_id, report.key) == (namespace, "t-9", "c-1")
    assert report.at - report.made_at == timedelta(days=7)
    assert (await client.post("/v1/transactions/t-9/fraud", json=PURCHASE)).json()["field"] == "made_at"
    other = await client.post("/v1/transactions/t-9/fraud", json={**fraud, "transaction_id": "t-8"})
    assert (other.status_code, other.json()["field"]) == (422, "transaction_id")


async def test_both_come_as_cloud_events_too(client, bank, bus, namespace) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/bank", "ce-type": "millrace.transaction.made.v1"}
    assert (await client.post("/v1/events", json=PURCHASE, headers=headers)).status_code == 202
    batch = [
        {"specversion": "1.0", "id": f"e-{i}", "source": "/bank", "type": "millrace.transaction.fraud_reported.v1",
         "data": {**PURCHASE, "user_id": f"u-{i}", "transaction_id": f"t-{i}", "made_at": "2026-01-01T00:00:00Z"}}
        for i in (1, 2)
    ]  # fmt: skip
    batched = {"Content-Type": "application/cloudevents-batch+json"}
    assert (await bank.post("/v1/events", content=json.dumps(batch), headers=batched)).status_code == 202
    assert [made.user_id for made in sent(bus)] == [namespace]
    assert {report.user_id for report in sent(bus, CHARGEBACKS.name)} == {"u-1", "u-2"}
    assert (await client.post("/v1/events", content=json.dumps(batch), headers=batched)).json()[
        "field"
    ] == "[0].data.user_id"


async def test_the_bank_speaks_for_its_card_holders_and_must_name_them(bank, bus) -> None:
    named = await bank.post("/v1/transactions", json={**PURCHASE, "user_id": "holder-1"})
    unnamed = await bank.post("/v1/transactions", json=PURCHASE)
    assert (named.status_code, unnamed.status_code) == (202, 422)
    assert unnamed.json()["field"] == "user_id"
    assert [made.user_id for made in sent(bus)] == ["holder-1"]


async def test_the_banks_token_is_good_for_nothing_else(bank) -> None:
    ride = {"pickup": {"zone": 7}, "dropoff": {"zone": 8}, "user_id": "holder-1"}
    assert (await bank.post("/v1/rides", json=ride)).json()["field"] == "user_id"
    assert (await bank.get("/v1/decisions/t-1")).status_code == 403
    assert (await bank.get("/v1/live")).status_code == 403


@pytest.mark.parametrize("path", ["/v1/transactions", "/v1/transactions/t/fraud"])
async def test_who_may_not_write_may_not(served, path) -> None:
    reader = {"Authorization": f"Bearer {mint(served.settings, 'u', USER_SCOPES[1:])}"}
    async with httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.post(path, json=PURCHASE)).status_code == 401
        assert (await client.post(path, json=PURCHASE, headers=reader)).status_code == 403


async def test_a_stream_is_taken_whole(bank, bus) -> None:
    response = await stream(bank, ndjson(*purchases(3000)))
    assert response.status_code == 202
    assert response.json() == {"accepted": 3000, "rejected": 0, "errors": []}
    made = sent(bus)
    assert {each.transaction_id for each in made} == {f"t-{i}" for i in range(3000)}
    for card in range(7):  # order per card, though the batches are many
        numbers = [int(each.transaction_id[2:]) for each in made if each.card_id == f"c-{card}"]
        assert numbers == sorted(numbers)


async def test_a_bad_line_costs_itself_alone_and_is_told_of(bank, bus) -> None:
    good = list(purchases(3))
    bad_utf8 = json.dumps(good[0]).encode().replace(b"till-1", b"till\xff")
    lines = (good[0], {**good[1], "amount_usd": -5}, b"", b"{half", bad_utf8, b"x" * 20_000, good[1], b"[]", good[2])
    response = await stream(bank, ndjson(*lines) + b"\n")
    assert response.status_code == 202
    said = response.json()
    assert (said["accepted"], said["rejected"]) == (3, 5)
    assert [(each["line"], each.get("field")) for each in said["errors"]] == [
        (2, "amount_usd"), (4, None), (5, None), (6, None), (8, None),
    ]  # fmt: skip
    assert "till" not in response.text, "nothing of what was sent comes back"
    assert len(sent(bus)) == 3


async def test_half_a_line_at_the_end_is_a_bad_line(bank, bus) -> None:
    response = await stream(bank, ndjson(*purchases(2))[:-10])
    assert (response.json()["accepted"], [each["line"] for each in response.json()["errors"]]) == (1, [2])


async def test_where_no_line_is_good_the_answer_is_422(bank, bus) -> None:
    response = await stream(bank, ndjson(*purchases(300, source="phone")))
    assert response.status_code == 422
    said = response.json()
    assert (said["accepted"], said["rejected"], said["field"]) == (0, 300, "source")
    assert len(said["errors"]) == 100
    empty = await stream(bank, b"\n\n")
    assert (empty.status_code, empty.json()["detail"]) == (422, "the body is empty")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Idempotency-Key": "k"}, 422), ({"Content-Encoding": "gzip"}, 415), ({"Content-Type": "text/csv"}, 415)],
)
async def test_what_a_stream_may_not_be(bank, headers, status) -> None:
    assert (await stream(bank, ndjson(*purchases(1)), **headers)).status_code == status


async def test_each_line_is_published_as_it_comes(bank, bus, eventually) -> None:
    """And a slow client is given time for as long as it comes along."""
    arrived = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        first, second = purchases(2)
        yield ndjson(first, b"")
        await eventually(lambda: len(sent(bus)) == 1)
        arrived.set()
        yield ndjson(second)

    response = await stream(bank, slowly())
    assert response.json()["accepted"] == 2
    assert arrived.is_set()


async def test_a_stream_that_comes_along_outlives_the_deadline_of_a_request(serve, eventually) -> None:
    loop = asyncio.get_running_loop()

    async def slowly() -> AsyncIterator[bytes]:
        for each in purchases(5):
            yield ndjson(each, b"")
            until = loop.time() + 1.0
            await eventually(lambda until=until: loop.time() > until)

    async with serve(limits=Limits(request_s=4.0)) as served:
        headers = {"Authorization": f"Bearer {mint(served.settings, 'bank', BANK_SCOPES)}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=20) as client:
            began = loop.time()
            assert (await stream(client, slowly())).json()["accepted"] == 5
            assert loop.time() - began > 4.0


async def test_a_stream_that_falls_silent_is_cut_off_and_what_had_come_is_taken(serve, bus) -> None:
    async with serve(limits=Limits(request_s=0.5)) as served:
        line = ndjson(*purchases(1), b"")
        head = (
            f"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            f"Authorization: Bearer {mint(served.settings, 'bank', BANK_SCOPES)}\r\nContent-Length: {2 * len(line)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode() + line)
        with suppress(ConnectionError):
            async with asyncio.timeout(10):
                assert await reader.read() == b""
        writer.close()
    assert len(sent(bus)) == 1


class Failing(MemoryBus):
    """Kafka goes away after so many records."""

    async def send(self, records):
        if len(self.records("transactions.pos")) >= 500:
            raise DeliveryFailed("away")
        return await super().send(records)


async def test_when_kafka_goes_away_the_answer_says_how_far_it_came(serve) -> None:
    bus = Failing()
    async with serve(producer=bus) as served:
        headers = {"Authorization": f"Bearer {mint(served.settings, 'bank', BANK_SCOPES)}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=20) as client:
            response = await stream(client, ndjson(*purchases(2000)))
    assert response.status_code == 503
    assert response.headers["retry-after"]
    said = response.json()
    assert 500 <= said["accepted"] == len(sent(bus)) < 2000
    assert said["resume_at"] == said["accepted"] + 1


async def test_a_client_that_leaves_in_the_middle_has_sent_what_it_has_sent(bank, served, bus, eventually) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield ndjson(*purchases(2), b"")
        await eventually(lambda: len(sent(bus)) == 2)
        raise RuntimeError("the client fell over")

    with pytest.raises(RuntimeError):
        await stream(bank, broken())
    assert (await stream(bank, ndjson(*purchases(1)))).status_code == 202
