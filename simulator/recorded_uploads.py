"""Real uploads, from the table of YouTube's trending videos of 2017: each becomes the life of an upload in event time.

The other source of uploads beside `uploads`. A video trends for several days: its first row is the upload; a later row
is an update where title or tags have changed, and nothing new otherwise.
"""

import csv
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from app.events import AnyUpload, ContentUpdated, ContentUploaded
from simulator.errors import UnreadableRecording
from simulator.plan import Life

YEAR = 2017
"""The file dates its rows `day.month`."""

NEEDED = frozenset({"video_id", "title", "channel_title", "tags", "date"})
LONGEST_TITLE, LONGEST_TAG, MOST_TAGS = 500, 200, 200
NO_TAGS = "[none]"


class Row(NamedTuple):
    """One video on one day."""

    day: datetime
    video: str
    channel: str
    title: str
    tags: tuple[str, ...]


class RecordedUploads:
    """The uploads of one trending file, in order of the day, those of a day spread evenly over it.

    Args:
        path: the CSV file.
        run: sets the ids of one replay apart from those of every other.
        users: how many uploaders the channels are dealt out to.

    Attributes:
        skipped: why rows were left out, and how many.

    Raises `UnreadableRecording` when it is no such file.
    """

    def __init__(self, path: Path, run: str, users: int = 200) -> None:
        self._run, self._users = run, users
        self.skipped: Counter[str] = Counter()
        try:
            self._rows = sorted(self._read(path), key=lambda row: row.day)
        except csv.Error as error:
            raise UnreadableRecording(path, f"it is not a readable CSV file ({error})") from error
        self._size = len(self._rows) + self.skipped.total()
        if not self._rows:
            raise UnreadableRecording(path, "none of its rows is an upload")

    def __len__(self) -> int:
        """Rows of the file; those that are not skipped are lives."""
        return self._size

    def lives(self) -> Iterator[Life]:
        """One life per event: an update comes days after its upload, and stands for itself."""
        latest: dict[str, tuple[int, Row]] = {}
        per_day = Counter(row.day for row in self._rows)
        placed: Counter[datetime] = Counter()
        for row in self._rows:
            at = row.day + timedelta(days=placed[row.day] / per_day[row.day])
            placed[row.day] += 1
            version, before = latest.get(row.video, (-1, row))
            if version >= 0 and (before.title, before.tags) == (row.title, row.tags):
                self.skipped["still trending, unchanged"] += 1
                continue
            latest[row.video] = version + 1, row
            yield (self._event(row, at, version + 1),)

    def _event(self, row: Row, at: datetime, version: int) -> AnyUpload:
        upload_id = f"u-{self._run}-{zlib.crc32(row.video.encode()):08x}"
        make = ContentUpdated if version else ContentUploaded
        return make(
            event_id=f"{upload_id}.{version}",
            user_id=f"channel-{zlib.crc32(row.channel.encode()) % self._users}",
            upload_id=upload_id,
            at=at.replace(microsecond=0),
            title=row.title[:LONGEST_TITLE],
            tags=row.tags,
        )

    def _read(self, path: Path) -> Iterator[Row]:
        if not path.is_file():
            raise UnreadableRecording(path, "there is no such file")
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            table = csv.DictReader(line.replace("\0", "") for line in file)
            if missing := NEEDED - set(table.fieldnames or ()):
                raise UnreadableRecording(path, f"it has no column {', '.join(sorted(missing))}")
            for fields in table:
                if row := self._row(fields):
                    yield row

    def _row(self, fields: dict[str, str | None]) -> Row | None:
        video, title = fields["video_id"] or "", (fields["title"] or "").strip()
        if not video or not title:
            self.skipped["without an id or a title"] += 1
            return None
        day = _day(fields["date"] or "")
        if day is None:
            self.skipped["without a date"] += 1
            return None
        tags = fields["tags"] or NO_TAGS
        kept = () if tags == NO_TAGS else tuple(tag.strip()[:LONGEST_TAG] for tag in tags.split("|")[:MOST_TAGS])
        return Row(day, video, fields["channel_title"] or "unknown", title, kept)


def _day(text: str) -> datetime | None:
    """`13.09` -> 13 September of `YEAR`."""
    try:
        return datetime.strptime(f"{text.strip()}.{YEAR}", "%d.%m.%Y").replace(tzinfo=UTC)
    except ValueError:
        return None
