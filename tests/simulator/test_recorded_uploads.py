from pathlib import Path

import pytest

from app.codec import encode
from app.errors import ConfigurationError
from app.events import ContentUpdated, ContentUploaded
from simulator.recorded_uploads import RecordedUploads

HEAD = "video_id,title,channel_title,category_id,tags,views,date\n"


def recording(path: Path, *rows: str) -> RecordedUploads:
    path.write_bytes((HEAD + "".join(f"{row}\n" for row in rows)).encode())
    return RecordedUploads(path, "x")


def test_a_video_is_uploaded_once_and_updated_when_its_text_changes(tmp_path: Path) -> None:
    uploads = recording(
        tmp_path / "t.csv",
        'a,"One, two",Ann,24,x|y,10,13.09',
        "b,Other,Bob,24,[none],10,13.09",
        'a,"One, two",Ann,24,x|y,20,14.09',
        'a,"One, two, three",Ann,24,x|y,30,15.09',
    )
    events = [event for life in uploads.lives() for event in life]
    assert [type(event) for event in events] == [ContentUploaded, ContentUploaded, ContentUpdated]
    first, other, update = events
    assert (first.title, first.tags, other.tags) == ("One, two", ("x", "y"), ())
    assert (update.subject_id, update.user_id) == (first.subject_id, first.user_id)
    assert update.event_id != first.event_id
    assert first.at < other.at < update.at
    assert uploads.skipped == {"still trending, unchanged": 1}
    assert all(encode(event) for event in events)


def test_defective_rows_are_skipped_and_counted(tmp_path: Path) -> None:
    uploads = recording(
        tmp_path / "t.csv", "a,Good,Ann,24,x,10,13.09", "b,,Bob,24,x,1,13.09", "c,No date,Cy,24,x,1,someday", "d"
    )
    assert len(list(uploads.lives())) == len(uploads) - uploads.skipped.total() == 1
    assert uploads.skipped == {"without an id or a title": 2, "without a date": 1}


def test_a_bad_byte_and_an_overlong_title_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(HEAD.encode() + b"a,Caf\xe9 \x00" + b"x" * 600 + b",Ann,24,x,1,13.09\n")
    ((event,),) = RecordedUploads(path, "x").lives()
    assert isinstance(event, ContentUploaded)
    assert len(event.title) == 500


def test_what_is_no_trending_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text(HEAD)
    with pytest.raises(ConfigurationError, match="there is no such file"):
        RecordedUploads(tmp_path / "none.csv", "x")
    with pytest.raises(ConfigurationError, match="it has no column channel_title"):
        RecordedUploads(tmp_path / "other.csv", "x")
    with pytest.raises(ConfigurationError, match="none of its rows is an upload"):
        RecordedUploads(tmp_path / "empty.csv", "x")
