import os

import pytest

from app.modes.replay.book import Standing
from cli.replay_job import Manner, processes

LARGE = 10**9


def left(size: int, lanes: int) -> Standing:
    return Standing(size + 7, 7, 0, 0, False, 0, lanes)


@pytest.mark.parametrize(
    ("manner", "standing", "count"),
    [
        (Manner(), left(LARGE, 100), 1),
        (Manner(workers=5, eager=True), left(10, 1), 5),
        (Manner(eager=True), left(LARGE, 1000), os.cpu_count()),
        (Manner(eager=True), left(LARGE, 1), 1),
        (Manner(eager=True), left(10_000, 4), 1),
        (Manner(eager=True), left(0, 0), 1),
        (Manner(eager=True, rate=100.0), left(LARGE, 1000), 1),
    ],
)
def test_as_many_processes_as_are_asked_for_or_are_worth_it(manner: Manner, standing: Standing, count: int) -> None:
    assert processes(manner, standing) == count
