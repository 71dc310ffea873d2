"""Lines out of chunks, however they were cut."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.ndjson import Line, Lines

texts = st.lists(st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"")), max_size=8)


def cut(body: bytes, places: list[int]) -> list[Line]:
    lines, found, last = Lines(max_line=8), list[Line](), 0
    for place in [*sorted(min(each, len(body)) for each in places), len(body)]:
        found += lines.feed(body[last:place])
        last = place
    return found + lines.end()


@given(texts, st.lists(st.integers(0, 100), max_size=10))
def test_the_lines_do_not_depend_on_the_chunks(texts: list[bytes], places: list[int]) -> None:
    body = b"\n".join(texts)
    expected = [
        Line(number, text.strip() if len(text) <= 8 else None)
        for number, text in enumerate(body.split(b"\n"), 1)
        if text.strip() or len(text) > 8
    ]
    assert cut(body, places) == expected


def test_a_line_without_end_is_not_kept() -> None:
    lines = Lines(max_line=100)
    for _ in range(1000):
        assert lines.feed(b"x" * 100) == []
        assert len(lines._rest or b"") <= 100
    assert lines.feed(b"\nshort\n") == [Line(1, None), Line(2, b"short")]
