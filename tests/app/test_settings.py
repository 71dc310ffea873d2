"""Settings as an operator writes them: text in the environment."""

from datetime import timedelta

import pytest

from app.errors import ConfigurationError
from app.settings import Settings, read_settings

DURATIONS = [name for name, field in Settings.model_fields.items() if isinstance(field.default, timedelta)]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize(("said", "meant"), [("2", 2.0), ("0.5", 0.5), ("PT3S", 3.0)])
def test_every_duration_may_be_seconds_or_iso_8601(
    monkeypatch: pytest.MonkeyPatch, name: str, said: str, meant: float
) -> None:
    monkeypatch.setenv(f"MILLRACE_{name.upper()}", said)
    assert getattr(read_settings(), name) == timedelta(seconds=meant)


@pytest.mark.parametrize("name", [*DURATIONS, "within"])
def test_what_is_no_duration_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"MILLRACE_{name.upper()}", "soon")
    with pytest.raises(ConfigurationError, match=f"MILLRACE_{name.upper()}"):
        read_settings()


@pytest.mark.parametrize("said", ["-1", "31"])
def test_a_first_estimate_is_waited_for_no_longer_than_any_answer(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("MILLRACE_FIRST_ESTIMATE", said)
    with pytest.raises(ConfigurationError, match="MILLRACE_FIRST_ESTIMATE"):
        read_settings()
