"""Real short texts as uploads: tweets, comments and messages of the public data sets that come with no time and no author.

Beside `recorded_uploads`, which knows the table of trending videos. Each text is uploaded once, a second of event time after
the one before it, by one of the uploaders in turn.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.events import ContentUploaded
from simulator.errors import UnreadableRecording
from simulator.plan import Life
from simulator.recorded_uploads import LONGEST_TITLE, NEEDED

BEGINNING = datetime(2017, 9, 13, tzinfo=UTC)
"""The first day of the trending table, so that both can be told of one past."""

COLUMNS = frozenset({"tweet", "comment", "text", "content", "test_case"})
"""What the text is called in Davidson, OLID, ETHOS, HateCheck and the YouTube comments, whatever the case."""


def holds_texts(path: Path) -> bool:
    """Whether a file is one of texts and not a table of videos, by its ending and its header."""
    if path.suffix == ".csv" and path.is_file():
        return _text_column(names := _header(path)) is not None and not set(names) >= NEEDED
    return path.suffix in (".tsv", ".txt")


class RecordedTexts:
    """The texts of one file: a column of a CSV or TSV file, the last of a TSV file without a header, or the lines of a TXT file.

    Args:
        path: the file.
        run: sets the ids of one replay apart from those of every other.
        users: how many uploaders they are dealt out to.

    Attributes:
        skipped: why rows were left out, and how many.

    Raises `UnreadableRecording` when it is no such file.
    """

    def __init__(self, path: Path, run: str, users: int = 200) -> None:
        self._run, self._users = run, users
        self.skipped: Counter[str] = Counter()
        if not path.is_file():
            raise UnreadableRecording(path, "there is no such file")
        try:
            found = [text.strip() for text in _texts(path)]
        except csv.Error as error:
            raise UnreadableRecording(path, f"it is not a readable table ({error})") from error
        self._texts = [text for text in found if text]
        self._size = len(found)
        if empty := self._size - len(self._texts):
            self.skipped["without a text"] = empty
        if not self._texts:
            raise UnreadableRecording(path, "it holds no text")

    def __len__(self) -> int:
        """Rows of the file; those that are not skipped are lives."""
        return self._size

    def lives(self) -> Iterator[Life]:
        """An upload each; a text too long for a title is the upload's text as well."""
        for number, text in enumerate(self._texts):
            upload_id = f"u-{self._run}-{number}"
            yield (
                ContentUploaded(
                    event_id=f"{upload_id}.0",
                    user_id=f"channel-{number % self._users}",
                    upload_id=upload_id,
                    at=BEGINNING + timedelta(seconds=number),
                    title=text[:LONGEST_TITLE],
                    text=text if len(text) > LONGEST_TITLE else "",
                ),
            )


def _texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = (line.replace("\0", "") for line in file)
        if path.suffix == ".txt":
            yield from lines
        elif path.suffix == ".tsv":  # quotes are quotes there
            rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            first = next(rows, [])
            column = _text_column(first)
            if column is None and first:
                yield first[-1]
            yield from (row[-1 if column is None else column] for row in rows if len(row) > (column or 0))
        else:
            column = _text_column(_header(path))
            if column is None:
                raise UnreadableRecording(path, f"it has none of the columns {', '.join(sorted(COLUMNS))}")
            rows = csv.reader(lines, delimiter=_delimiter(path))
            next(rows)
            yield from (row[column] for row in rows if len(row) > column)


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return next(csv.reader(file, delimiter=_delimiter(path)), [])


def _delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    return max(",;", key=first.count)


def _text_column(header: list[str]) -> int | None:
    return next((place for place, name in enumerate(header) if name.lower() in COLUMNS), None)
