"""A log of purchases: read line by line, and what is wrong with one is told by its column."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.jobs.customers import Purchase, read_log

HEAD = b"customer_id,date,cds,usd\n"
GOOD = b"a,1997-01-01,2,29.33\n"


def log(tmp_path: Path, lines: bytes) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(lines)
    return path


def test_a_line_is_a_purchase_of_the_day(tmp_path: Path) -> None:
    read = list(read_log(log(tmp_path, HEAD + GOOD + b"00004,1997-12-31,0,0")))
    assert read == [
        Purchase("a", datetime(1997, 1, 1, tzinfo=UTC), 2, 29.33),
        Purchase("00004", datetime(1997, 12, 31, tzinfo=UTC), 0, 0.0),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"b,1997-01-01,2", "line 3: 3 columns"),
        (b",1997-01-01,2,5", "line 3: customer_id: "),
        (b"x" * 65 + b",1997-01-01,2,5", "line 3: customer_id: "),
        (b"b,01/02/1997,2,5", "line 3: date: "),
        (b"b,1997-01-01,1e9,5", "line 3: cds: "),
        (b"b,1997-01-01,99999999999999999999,5", "line 3: cds: "),
        (b"b,1997-01-01,2,nan", "line 3: usd: "),
        (b"b,1997-01-01,2,-5", "line 3: usd: "),
        (b"b,1997-01-01,2,\xff5", "not UTF-8"),
        (b"b,1997-01-01,2," + b"5" * 200_000, "after line 2: field larger"),
    ],
)
def test_what_is_no_purchase_is_told_by_its_column(tmp_path: Path, line: bytes, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        list(read_log(log(tmp_path, HEAD + GOOD + line)))


def test_another_table_and_none_at_all_are_told(tmp_path: Path) -> None:
    for path, says in ((log(tmp_path, GOOD), "first line"), (tmp_path / "none.csv", "No such file")):
        with pytest.raises(ConfigurationError, match=says):
            list(read_log(path))
