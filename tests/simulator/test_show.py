from datetime import UTC, datetime

from app.decisions import Action, Figure
from app.events import Kind
from app.live import AnyLive, Connected, Heartbeat, LiveDecision, LivePrediction, LiveRevision, Reconnect
from app.predictions import Stage
from simulator.client import Lost
from simulator.show import line, lost

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FIGURES = (
    Figure(model="cost", version="1", value=17.5, unit="usd"),
    Figure(model="duration", version="1", value=12.34, unit="min"),
)


def shown(message: AnyLive) -> str:
    text = line(message)
    return "" if text is None else text.plain


def decided(kind: Kind, action: Action, *, missing: tuple[str, ...] = (), revision: int = 0) -> LiveDecision:
    make = LiveRevision if revision else LiveDecision
    return make(
        at=NOW, subject_id="s-1", kind=kind, user_id="u", event_id="e", decision_id="d", action=action, event_at=NOW,
        reasons=("looks like spam (97 %)", "and more"), predictions=FIGURES, missing=missing, revision=revision,
    )  # fmt: skip


def figure(stage: Stage) -> LivePrediction:
    return LivePrediction(
        at=NOW, subject_id="s-1", kind="ride", user_id="u", event_id="e", model="duration", version="1", value=9.0, unit="min", stage=stage
    )  # fmt: skip


def test_a_ride_shows_its_figures_and_an_upload_its_decisive_reason() -> None:
    assert shown(decided("ride", "quote")).endswith("quote          duration 12.3 min · cost $17.50")
    assert shown(decided("ride", "confirm")).endswith("cost $17.50 · looks like spam (97 %)")
    assert shown(decided("upload", "remove")).endswith("remove         looks like spam (97 %)")


def test_what_is_unusual_is_said() -> None:
    assert "quote (revised)" in shown(decided("ride", "quote", revision=1))
    assert shown(decided("ride", "quote", missing=("eta",))).endswith("without eta")
    assert "corrected on the way" in shown(figure("correction"))
    assert "corrected" not in shown(figure("initial"))


def test_the_state_of_the_connection_is_plain() -> None:
    first = Connected(at=NOW, user_id="u", recovered=False)
    assert shown(first) == "· connected as u, from now on"
    again = line(first, resuming=True)
    assert again is not None
    assert "recovered: false" in again.plain
    of_all = line(Connected(at=NOW, user_id="u", recovered=True), resuming=True, everyone=True)
    assert of_all is not None
    assert "nothing missed" not in of_all.plain
    assert "nothing missed" in shown(Connected(at=NOW, user_id="u", recovered=True))
    assert "restarting" in shown(Reconnect(at=NOW, reason="restarting", retry_after_ms=5))
    assert line(Heartbeat(at=NOW)) is None
    assert lost(Lost("HTTP 503", 1.25)).plain == "· connection lost: HTTP 503; trying again in 1.2 s"
