"""What the terminal view shows, rendered to plain text."""

import io
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from rich.console import Console, RenderableType

from app.live import LiveDecision
from app.sql.card_figures import CardFigures
from app.sql.ledger import LiveError
from cli import panels
from cli.headline import headline
from cli.picture import LIVE, AgentStatus, Picture, Process, Status

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def rendered(renderable: RenderableType, width: int = 150, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def decision(subject_id: str = "ride-1", **changes: object) -> LiveDecision:
    fields: dict[str, object] = {
        "id": "c-1",
        "at": NOW,
        "subject_id": subject_id,
        "kind": "ride",
        "user_id": "u1",
        "event_id": "e1",
        "decision_id": "e1.0",
        "action": "quote",
        "event_at": NOW - timedelta(milliseconds=21),
        "reasons": ("all figures are in bounds", "second reason"),
        "predictions": (),
    }
    return LiveDecision(**{**fields, **changes})


def picture(**changes: object) -> Picture:
    status = Status(
        agents=(AgentStatus("duration", 1200, 1), AgentStatus("spam", 0, 0)),
        errors=(
            LiveError("duration", "2023-01.1", "initial", "min", 812, 3.31, 5.0, -0.2, None),
            LiveError("cancellation", "7", "initial", "probability", 90, 0.2, 0.3, 0.0, 0.0531),
        ),
        rates={"events": 100, "predictions": 512.3, "decisions": 4.25},
        decisions={"quote": 7001},
    )
    processes = (Process("duration", "running", 0, 181.4), Process("gateway", "signal 9", 3, None))
    whole = Picture("http://127.0.0.1:8000", LIVE, 65, status, (decision(),), processes)
    return whole._replace(**changes)


def row(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if f" {name} " in line or line.startswith(name)).split()


@pytest.mark.parametrize(("width", "height"), [(150, 42), (100, 50)])
def test_the_screen_shows_everything_when_there_is_room(width: int, height: int) -> None:
    text = rendered(panels.screen(picture(), width, height), width, height)
    for expected in (
        "http://127.0.0.1:8000",
        "● live",
        "up 1:05",
        "512 predictions/s",
        "4.2 decisions/s",
        "7,001 quoted",
    ):
        assert expected in text
    for title in ("Rides and uploads", "Parts", "Live error"):
        assert title in text


def test_a_small_terminal_keeps_the_decisions_and_the_parts() -> None:
    text = rendered(panels.screen(picture(), 80, 24), 80, 24)
    assert "ride-1" in text
    assert "gateway" in text
    assert "Live error" not in text


def test_a_group_and_its_process_share_a_row() -> None:
    shown = picture()
    text = rendered(panels.parts_table(shown.status.agents, shown.processes), 80)
    assert row(text, "duration") == ["duration", "running", "1,200", "1", "181"]
    assert row(text, "spam") == ["spam", "nobody", "0", "0", "–"]
    assert row(text, "gateway") == ["gateway", "signal", "9,", "3×", "again", "–", "–", "–"]


def test_a_decision_tells_its_first_reason_and_what_it_lacks() -> None:
    text = rendered(panels.decisions_table([decision(missing=("tip",), revision=2)]), 150)
    assert "all figures are in bounds · revision 2 · without tip" in text
    assert "second reason" not in text
    assert text.rstrip().endswith("21")


def test_the_age_of_a_recorded_event_is_no_latency() -> None:
    recorded = decision(event_at=NOW - timedelta(days=900))
    assert "ms" not in rendered(panels.decisions_table([recorded]), 120).split()
    text = rendered(panels.decisions_table([decision(), recorded]), 120)
    assert text.rstrip().endswith("–")


def test_a_payment_that_is_held_has_a_place_of_its_own() -> None:
    charge = decision("run-000000000123", kind="transaction", action="block", reasons=("fraud risk 95%",))
    text = rendered(panels.screen(picture(held=(charge,)), 150, 42), 150, 42)
    (shown,) = (line for line in text.splitlines() if " card " in line)
    assert "…00000000123 block    fraud risk 95%" in shown
    assert "Card payments held" in text
    assert "Card payments held" not in rendered(panels.screen(picture(held=(charge,)), 80, 24), 80, 24)


CARDS = CardFigures(
    allowed=4784, reviewed=56, blocked=58, caught=58, caught_usd=5508.9, missed=6, missed_usd=39.2,
    precision=0.5088, recall=0.9063, saved_usd=-12.5,
)  # fmt: skip


def test_the_line_tells_of_cards_where_there_are_any() -> None:
    text = panels.line(picture(status=Status(cards=CARDS)))
    assert text.startswith("live · cards: −$12 saved, 4,784 allowed, 56 to review, 58 blocked, 91% of frauds held")


def test_the_headline_says_what_was_decided_of_each_use() -> None:
    status = Status(decisions={"quote": 7, "keep": 20, "review": 60, "allow": 4784, "block": 58}, cards=CARDS)
    text = rendered(headline(picture(status=status)), 150)
    assert row(text, "rides")[1:-1] == ["rides", "7", "quoted"]
    assert row(text, "uploads")[1:-1] == ["uploads", "20", "kept", "4", "to", "review"]
    assert (
        "−$12 saved   4,784 allowed   56 to review   58 blocked   91% of frauds held   51% of held were frauds" in text
    )
    unknown = msgspec.structs.replace(CARDS, recall=None, precision=None)
    early = rendered(headline(picture(status=msgspec.structs.replace(status, cards=unknown))), 150)
    assert "58 blocked" in early
    assert "saved" not in early
    none_held = msgspec.structs.replace(CARDS, reviewed=0, blocked=0, recall=0.0, precision=None)
    assert "0 blocked, 0% of frauds held" in panels.line(picture(status=Status(cards=none_held)))
    assert "were frauds" not in panels.line(picture(status=Status(cards=none_held)))


def test_the_headline_says_which_part_is_away() -> None:
    away = picture()._replace(status=Status(away=("database", "kafka")))
    assert "live, but no answer from: database, kafka" in rendered(headline(away))
    assert "no answer" not in rendered(headline(picture()))


def test_hostile_text_is_shown_as_text() -> None:
    text = rendered(panels.decisions_table([decision("[red]x[/]", reasons=("[link=http://evil]click[/link]",))]), 150)
    assert "[red]x[/]" in text
    assert "[link=http://evil]click[/link]" in text


def test_the_line_for_a_log() -> None:
    assert panels.line(picture()) == (
        "live · events 100/s · predictions 512/s · decisions 4.2/s · lag 1,200 · "
        "error: duration 3.31 min, cancellation 0.053 Brier"
    )


def test_nothing_known_yet_is_no_error() -> None:
    empty = Picture("http://x", "connecting", 0.0, Status(), (), ())
    assert "○ connecting" in rendered(panels.screen(empty, 120, 40), 120)
    assert panels.line(empty) == "connecting"
