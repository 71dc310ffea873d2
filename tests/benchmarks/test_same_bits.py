"""Live, asked and in one batch, every agent says the same: a short form of `python -m benchmarks.ask_bits`, on every run."""

import tempfile
from pathlib import Path

import pytest

from app.settings import Settings
from benchmarks import ask_bits


@pytest.mark.chaos
def test_every_agent_says_the_same_live_asked_and_in_one_batch(datasets: Path) -> None:
    trips, trending = datasets / "rides/green_tripdata_2023-02.parquet", datasets / "content/youtube_trending_2017.csv"
    opened = ask_bits.events(trips, trending, rows=100)
    with tempfile.TemporaryDirectory(prefix="millrace-") as directory:
        settings = Settings.model_construct(data_dir=Path(directory))
        found = ask_bits.on_embedded(settings, opened, ask_bits.answer_these(opened))
    assert {each.agent: (each.asked, each.batch) for each in found} == {each.agent: (0, 0) for each in found}
    assert sum(each.events for each in found) == 100 * 9
