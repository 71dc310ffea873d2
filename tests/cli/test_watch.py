"""`millrace watch`, and the options it shares: what cannot be honoured is said at once, in a sentence."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.errors import ConfigurationError
from cli.main import app


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["watch", "--last-id", "nonsense"], "--last-id nonsense"),
        (["watch", "--last-id", "00ff00ff00ff00ff-1700000000000"], "--last-id"),
        (["watch", "--url", "localhost:8000"], "--url localhost:8000"),
        (["watch", "--url", "http://"], "--url"),
        (["watch", "--user", "two words"], "'two words'"),
        (["watch", "--user", "rider-7", "--all"], "--user and --all"),
        (["ask", "eta", "--json", "{}", "--user", "two words"], "'two words'"),
        (["ask", "eta", "--json", "{}", "--url", "nowhere"], "--url nowhere"),
        (["simulate", "--count", "1", "--url", "nowhere"], "--url nowhere"),
        (["agents", "health", "nobody"], "nobody"),
        (["up", "--agent", "nobody"], "nobody"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_honoured_is_an_error(tmp_path: Path, arguments: list[str], named: str) -> None:
    ended = CliRunner().invoke(app, arguments, env={"MILLRACE_DATA_DIR": str(tmp_path)})
    assert isinstance(ended.exception, ConfigurationError)
    assert named in str(ended.exception)
    assert not list(tmp_path.glob("kafka*")), "nothing was started before it was said"
