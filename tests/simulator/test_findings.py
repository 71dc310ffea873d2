import json
from collections import Counter
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from app.decisions import Figure
from app.events import Place, RideCompleted, RideRequested
from app.live import LiveDecision, LivePrediction, LiveRevision
from app.sql.ledger import LiveError
from simulator.findings import Findings, Latency
from simulator.report import Report, show, show_tally, tally_json
from simulator.tally import Tally

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def request(n: int) -> RideRequested:
    return RideRequested(
        event_id=f"e{n}", user_id="u", ride_id=f"r{n}", at=NOW, pickup=Place(zone=1), dropoff=Place(zone=2)
    )


def completed(n: int, minutes: float) -> RideCompleted:
    return RideCompleted(event_id=f"c{n}", user_id="u", ride_id=f"r{n}", at=NOW, duration_min=minutes, fare_usd=10.0)


def decision(n: int, minutes: float, *, revision: int = 0, missing: tuple[str, ...] = ()) -> LiveDecision:
    make = LiveRevision if revision else LiveDecision
    figures = [
        Figure(model=m, version="3", value=v, unit="-") for m, v in (("duration", minutes), ("tip", 2.0), ("eta", 1.0))
    ]
    return make(
        at=NOW, subject_id=f"r{n}", kind="ride", user_id="u", event_id=f"e{n}", decision_id=f"e{n}.{revision}", action="quote",
        event_at=NOW, reasons=(), predictions=tuple(figures), missing=missing, revision=revision,
    )  # fmt: skip


@pytest.fixture
def findings() -> Findings:
    found = Findings()
    for n in range(4):
        found.posting(request(n), 0.0, float(n))
    return found


def test_the_latency_counts_from_the_first_post_to_the_first_decision(findings: Findings) -> None:
    for n, took in enumerate((0.010, 0.020, 0.030)):
        findings.hear(decision(n, 5.0), n + took)
    findings.hear(decision(1, 6.0, revision=1), 99.0)
    latency = findings.latency()
    assert latency is not None
    assert latency == pytest.approx(Latency(20.0, 30.0, 30.0))
    assert (findings.missing, findings.revisions, findings.again) == (["e3"], 1, 0)


def test_what_is_found_in_the_store_is_not_missing_and_what_was_refused_is_not_owed(findings: Findings) -> None:
    findings.refused(request(0))
    findings.found("e1")
    assert findings.missing == ["e2", "e3"]


def test_decisions_of_somebody_elses_events_do_not_count(findings: Findings) -> None:
    findings.hear(decision(77, 5.0), 1.0)
    assert (findings.decided, findings.latency()) == ({}, None)


def test_figures_of_somebody_elses_events_do_not_count_and_corrections_of_ours_do(findings: Findings) -> None:
    """The users of two runs are the same people, and hear of both."""
    for n, event_id, stage in ((1, "e1", "initial"), (1, "r1.p7", "correction"), (77, "e77", "initial")):
        findings.hear(
            LivePrediction(
                at=NOW, subject_id=f"r{n}", kind="ride", user_id="u", event_id=event_id, model="eta", version="1", value=1.0,
                unit="min", stage=stage,
            ),
            1.0,
        )  # fmt: skip
    assert findings.predictions == {("eta", "initial"): 1, ("eta", "correction"): 1}


def test_a_second_first_decision_is_noticed(findings: Findings) -> None:
    findings.hear(decision(0, 5.0), 1.0)
    findings.hear(decision(0, 5.0), 2.0)
    assert findings.again == 1


def test_errors_are_of_the_first_figures_against_what_came_of_the_rides(findings: Findings) -> None:
    for n, (said, was) in enumerate(((10.0, 13.0), (20.0, 16.0))):
        findings.posting(completed(n, was), 0.0, 0.0)
        findings.hear(decision(n, said), 1.0)
        findings.hear(decision(n, was, revision=1), 2.0)
    findings.hear(decision(3, 1.0), 1.0)  # still on its way
    (error,) = findings.errors()  # nobody told the tips, and eta has no truth of its own
    assert (error.model, error.version, error.n) == ("duration", "3", 2)
    assert (error.mae, error.rmse, error.bias) == pytest.approx((3.5, 3.5355, 0.5), abs=1e-4)


def test_models_that_were_not_waited_for_are_counted(findings: Findings) -> None:
    findings.hear(decision(0, 5.0, missing=("tip", "cost")), 1.0)
    findings.hear(decision(1, 5.0, missing=("tip",)), 1.0)
    assert findings.lacking == {"tip": 2, "cost": 1}


def test_the_report_reads_and_parses(findings: Findings) -> None:
    findings.posting(completed(0, 12.0), 0.0, 0.0)
    findings.hear(decision(0, 10.0), 0.5)
    figure = LivePrediction(
        at=NOW,
        subject_id="r0",
        kind="ride",
        user_id="u",
        event_id="e0",
        model="eta",
        version="1",
        value=3.0,
        unit="min",
    )
    findings.hear(figure, 0.1)
    kept = LiveError("cancellation", "2", "initial", "probability", 7, 0.2, 0.3, 0.1, 0.09)
    report = Report(
        run="x", events={"RideRequested": 4}, retries=2, refused={"422 at: no": 1}, abandoned=0, seconds=2.0,
        asked=4, decided=1, stored=1, missing=tuple(findings.missing), revisions=0, repeats=0, reconnects=1,
        predictions={"eta initial": 1}, lacking={"tip": 1}, latency_ms=findings.latency(), errors=tuple(findings.errors()),
        live_errors=(kept,), skipped={"dated outside May": 5}, again=3,
    )  # fmt: skip
    console = Console(width=160, record=True, file=StringIO())
    show(report, console)
    told = console.export_text()
    for piece in (
        "4 events in 2.0 s, 2/s",
        "2 of 4",
        "p50 500.0 ms",
        "5 dated outside May",
        "decided twice     3",
        "422 at: no",
        "0.0900",
        "-2.00",
    ):
        assert piece in told
    assert not report.whole
    parsed = json.loads(report.to_json())
    assert (parsed["latency_ms"]["p50"], parsed["errors"][0]["mae"], parsed["live_errors"][0]["brier"]) == (
        500.0,
        2.0,
        0.09,
    )


def test_the_tally_of_an_endless_run_reads_and_parses() -> None:
    tally = Tally(events=Counter(RideRequested=3, RideStarted=2), poisoned=1)
    console = Console(width=120, record=True, file=StringIO())
    show_tally(tally, 1.0, Counter(), console)
    assert "5 events in 1.0 s" in console.export_text()
    assert json.loads(tally_json(tally, 1.0))["poisoned"] == 1
    assert (tally.accepted, tally.subjects) == (5, 3)
