"""What the log is spared, and what it is not."""

import logging

import httpx
import pytest

from app.errors import ConfigurationError
from app.services.process import free_port
from app.telemetry import HANGS, Sparing, expose
from app.testing import Clock


def _record(message: str, *args: object, name: str = "aiokafka") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, None)


def test_what_repeats_itself_is_said_once_a_while_and_counted() -> None:
    clock = Clock()
    sparing = Sparing(every_s=30, clock=lambda: clock().timestamp())
    said = []
    for second in range(95):
        record = _record("Unable connect to node with id %s: %s", 1, f"refused at {second}")
        if sparing.filter(record):
            said.append(record.getMessage())
        clock.advance(seconds=1)
    assert said == [
        "Unable connect to node with id 1: refused at 0",
        "Unable connect to node with id 1: refused at 30 (and 29 times before)",
        "Unable connect to node with id 1: refused at 60 (and 29 times before)",
        "Unable connect to node with id 1: refused at 90 (and 29 times before)",
    ]


def test_each_message_is_spared_by_itself_and_ours_never() -> None:
    sparing = Sparing()
    assert sparing.filter(_record("one %s", 1))
    assert sparing.filter(_record("two %s", 1))
    assert not sparing.filter(_record("one %s", 2))
    assert sparing.filter(_record("one %s", 2, name="aiokafka.conn"))
    assert all(sparing.filter(_record("ours", name=name)) for name in ("gateway.main", "gateway.main", "aiokafkaesque"))


def test_a_message_with_a_percent_sign_of_its_own_stays_whole() -> None:
    sparing = Sparing(every_s=0)
    for _ in range(2):
        record = _record("100% gone")
        assert sparing.filter(record)
        assert record.getMessage().startswith("100% gone")


def test_counters_are_told_to_whoever_asks_and_a_second_worker_has_the_next_port() -> None:
    HANGS.labels("told").inc(3)
    port = free_port()
    first, second = expose("127.0.0.1", port), expose("127.0.0.1", port)
    assert port <= first < second
    for each in (first, second):
        assert 'millrace_hangs_total{agent="told"} 3.0' in httpx.get(f"http://127.0.0.1:{each}/metrics").text


def test_an_address_that_is_not_ours_is_said_to_be() -> None:
    with pytest.raises(ConfigurationError, match="MILLRACE_METRICS_PORT"):
        expose("192.0.2.1", 9100)  # reserved for documentation (RFC 5737): nobody's
