"""Settings as an operator writes them: text in the environment."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.settings import Settings, read_settings

DURATIONS = [name for name, field in Settings.model_fields.items() if isinstance(field.default, timedelta)]


TOO_SHORT = {
    "ride_deadline": "0.09",
    "upload_deadline": "0.09",
    "first_estimate": "-1",
    "within": "-0.001",
    "commit_interval": "0",
    "store_retention": "59",
    "session_timeout": "0.5",
    "score_timeout": "0.09",
    "stuck_after": "9",
}


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("form", ["{:f}", "PT{:f}S"])
def test_every_duration_may_be_seconds_or_iso_8601(monkeypatch: pytest.MonkeyPatch, name: str, form: str) -> None:
    meant = 1.5 * Settings.model_fields[name].default
    monkeypatch.setenv(f"MILLRACE_{name.upper()}", form.format(meant.total_seconds()))
    assert getattr(read_settings(), name) == meant


@pytest.mark.parametrize("name", [*DURATIONS, "within"])
def test_a_duration_too_short_to_work_with_names_its_variable_and_the_least(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"MILLRACE_{name.upper()}", TOO_SHORT[name])
    with pytest.raises(ConfigurationError, match=rf"MILLRACE_{name.upper()}: must be at least [\d.,]+ s"):
        read_settings()


@pytest.mark.parametrize("name", [*DURATIONS, "within"])
def test_no_duration_is_longer_than_a_date_can_take(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"MILLRACE_{name.upper()}", "1e12")
    with pytest.raises(ConfigurationError, match=rf"MILLRACE_{name.upper()}: must be at most [\d.,]+ s"):
        read_settings()


@pytest.mark.parametrize("name", [*DURATIONS, "within"])
def test_what_is_no_duration_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"MILLRACE_{name.upper()}", "soon")
    with pytest.raises(ConfigurationError, match=f"MILLRACE_{name.upper()}: must be seconds"):
        read_settings()


@pytest.mark.parametrize("said", ["-1", "31"])
def test_a_first_estimate_is_waited_for_no_longer_than_any_answer(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MILLRACE_FIRST_ESTIMATE", said)
    with pytest.raises(ConfigurationError, match="MILLRACE_FIRST_ESTIMATE"):
        read_settings()


@pytest.mark.parametrize("said", ["debug", "INFO", "Warning"])
def test_a_log_level_is_taken_in_any_case(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MILLRACE_LOG_LEVEL", said)
    assert read_settings().log_level == said.upper()


def test_what_is_no_log_level_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LOG_LEVEL", "loud")
    with pytest.raises(ConfigurationError, match="MILLRACE_LOG_LEVEL"):
        read_settings()


@pytest.mark.parametrize("said", ["broker:9092", "a:1,b:2", "a:1, b:2", "[::1]:9092", "10.0.0.1:65535", "broker"])
def test_brokers_are_hosts_and_ports(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA", said)
    assert read_settings().kafka == said.replace(" ", "")


@pytest.mark.parametrize("said", ["", "a:b", "a:1:2", "a:1,", ":9092", "a:65536", "kafka://a:1", "a b:1"])
def test_what_are_no_brokers_names_its_variable(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA", said)
    with pytest.raises(ConfigurationError, match="MILLRACE_KAFKA: must be host:port"):
        read_settings()


@pytest.mark.parametrize("said", ["redis://r:6379/0", "rediss://:secret@r", "unix:///tmp/redis.sock?db=0"])
def test_a_redis_is_a_url(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MILLRACE_REDIS", said)
    assert read_settings().redis == said


@pytest.mark.parametrize("said", ["", "r:6379", "http://r"])
def test_what_is_no_redis_names_its_variable(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MILLRACE_REDIS", said)
    with pytest.raises(ConfigurationError, match="MILLRACE_REDIS: must begin with"):
        read_settings()


def test_the_document_has_every_setting_and_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    told: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", text, re.MULTILINE):
        told |= zip(names.replace("`", "").split(", "), defaults.split(", "), strict=True)
    assert told == {name.upper(): _worded(field.default) for name, field in Settings.model_fields.items()}


def _worded(default: object) -> str:
    if isinstance(default, timedelta):
        return f"{default.total_seconds():.12g} s"
    if isinstance(default, float):
        return f"{default:g}"
    return "unset" if default is None else str(default) or "none"


@pytest.mark.parametrize(
    ("said", "meant"), [("KAFAK", "KAFKA"), ("DATABSE", "DATABASE"), ("STORE_RETENTON", "STORE_RETENTION")]
)
def test_a_misspelt_setting_is_told_with_the_one_it_may_mean(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, meant: str
) -> None:
    with monkeypatch.context() as environment:
        environment.setenv(f"MILLRACE_{said}", "somewhere:9092")
        with pytest.raises(ConfigurationError, match=f"MILLRACE_{said} is no setting; did you mean MILLRACE_{meant}"):
            read_settings()
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(f"MILLRACE_{said}=somewhere:9092")
    with pytest.raises(ConfigurationError, match=f"did you mean MILLRACE_{meant}"):
        read_settings()


@pytest.mark.parametrize("name", ["MILLRACE_TOKEN", "MILLRACE_TEST_KAFKA", "MILLRACE_REPLAY_SQL_URL", "KAFAK"])
def test_what_is_not_nearly_a_setting_is_let_be(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "somewhere")
    read_settings()
