"""Where a database lies, and what it means when it does not answer."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from app.errors import ServiceUnavailable
from app.sql.engine import answering, beside, whereabouts


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////data/store", "sqlite:////data/store-replays.db"),
        ("sqlite:///here.sqlite", "sqlite:///here-replays.sqlite"),
        ("sqlite://", "sqlite://"),
        ("postgresql+psycopg://us:secret@db/millrace", "postgresql+psycopg://us:secret@db/millrace"),
    ],
)
def test_a_file_has_another_beside_it(url: str, expected: str) -> None:
    assert beside(url, "replays").render_as_string(hide_password=False) == expected


def test_connections_that_are_all_taken_are_a_database_that_does_not_answer(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", pool_size=1, max_overflow=0, pool_timeout=0.01)
    refused = pytest.raises(ServiceUnavailable, match=r"database: the index: .*timed out")
    with engine.connect(), refused, answering("the index"), engine.connect():
        pass
    engine.dispose()


def test_what_the_database_says_is_told() -> None:
    refused = pytest.raises(ServiceUnavailable, match="database: it: no such table: things")
    with refused, answering("it"), create_engine("sqlite://").connect() as connection:
        connection.execute(text("SELECT * FROM things"))


def test_a_file_is_named_beside_its_setting() -> None:
    assert whereabouts(make_url("sqlite:////data/x.db"), "THE_SETTING") == "THE_SETTING (/data/x.db)"
    assert whereabouts(make_url("postgresql+psycopg://us:secret@db/x"), "THE_SETTING") == "THE_SETTING"
