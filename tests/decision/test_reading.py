from datetime import UTC, datetime, timedelta

from decision.reading import PATIENCE, Reading

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def test_the_clock_is_the_walls_when_everything_is_read() -> None:
    reading = Reading(lambda _: False)
    reading.read(0, ms(NOW - timedelta(minutes=5)))
    assert reading.reached(0, NOW) == NOW
    assert reading.reached(1, NOW) == NOW


def test_a_backlog_holds_the_clock_at_what_was_read_last() -> None:
    reading, written = Reading(lambda _: True), NOW - timedelta(seconds=5)
    reading.read(0, ms(written))
    assert reading.reached(0, NOW) == written


def test_a_topic_never_read_to_its_end_holds_the_clock_only_so_long() -> None:
    reading = Reading(lambda _: True)
    reading.read(0, ms(NOW - timedelta(days=1)))
    assert reading.reached(0, NOW) == NOW - PATIENCE


def test_a_producers_clock_that_is_ahead_moves_nothing() -> None:
    reading = Reading(lambda _: True)
    reading.read(0, ms(NOW + timedelta(hours=1)))
    assert reading.reached(0, NOW) == NOW


def test_nothing_is_known_before_the_first_fetch() -> None:
    assert Reading(lambda _: None).reached(0, NOW) == NOW - PATIENCE


def test_nor_before_the_first_answers_that_were_fetched_are_joined() -> None:
    assert Reading(lambda _: True).reached(0, NOW) == NOW - PATIENCE


def test_an_assignment_forgets_what_the_last_one_read() -> None:
    reading = Reading(lambda _: True)
    reading.read(0, ms(NOW - timedelta(seconds=5)))
    reading.forget()
    assert reading.reached(0, NOW) == NOW - PATIENCE
