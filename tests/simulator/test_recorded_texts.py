from pathlib import Path

import pytest

from app.codec import encode
from app.errors import ConfigurationError
from app.events import ContentUploaded
from simulator.recorded_texts import BEGINNING, RecordedTexts, holds_texts


def texts(path: Path, content: bytes) -> list[ContentUploaded]:
    path.write_bytes(content)
    assert holds_texts(path)
    lives = list(RecordedTexts(path, "x", users=2).lives())
    assert all(encode(event) for life in lives for event in life)
    return [event for life in lives for event in life if isinstance(event, ContentUploaded)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("davidson.csv", b',class,tweet\n0,2,"one, two"\n1,0,"three\nfour"\n'),
        ("ethos.csv", b'comment;isHate\none, two;1.0\n"three\nfour";0\n'),
        ("youtube.csv", b'\xef\xbb\xbfText,IsToxic\n"one, two",TRUE\n"three\nfour",FALSE\n'),
    ],
)
def test_tables_of_each_kind(tmp_path: Path, name: str, content: bytes) -> None:
    found = texts(tmp_path / name, content)
    assert [event.title for event in found] == ["one, two", "three\nfour"]
    assert [event.user_id for event in found] == ["channel-0", "channel-1"]
    assert [event.event_id for event in found] == ["u-x-0.0", "u-x-1.0"]
    assert found[0].at == BEGINNING < found[1].at


def test_a_tsv_file_with_and_without_a_header(tmp_path: Path) -> None:
    named = texts(tmp_path / "olid.tsv", b'id\ttweet\tsubtask\n1\t"quoted\tOFF\n2\tbad \xff byte\tNOT\n')
    assert [event.title for event in named] == ['"quoted', "bad \ufffd byte"]
    bare = texts(tmp_path / "sms.tsv", b"ham\tgo on\nspam\twin\n")
    assert [event.title for event in bare] == ["go on", "win"]


def test_a_text_to_a_line(tmp_path: Path) -> None:
    long = "word " * 200
    short, full = texts(tmp_path / "pan.txt", f"short\n\n{long}\n".encode())
    assert (short.title, short.text) == ("short", "")
    assert (full.title, full.text) == (long.strip()[:500], long.strip())
    recording = RecordedTexts(tmp_path / "pan.txt", "x")
    assert (len(recording), dict(recording.skipped)) == (3, {"without a text": 1})


def test_a_table_of_videos_is_not_one_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("video_id,title,channel_title,tags,date,text\n")
    assert not holds_texts(path)
    assert not holds_texts(tmp_path / "rides.parquet")


def test_what_holds_no_text_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        RecordedTexts(tmp_path / "none.tsv", "x")
    with pytest.raises(ConfigurationError, match="it holds no text"):
        RecordedTexts(tmp_path / "empty.txt", "x")
    with pytest.raises(ConfigurationError, match="none of the columns comment"):
        RecordedTexts(tmp_path / "other.csv", "x")
