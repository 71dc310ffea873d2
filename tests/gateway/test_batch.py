"""The batch page's calls over a database in which a job has really run."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from agents.jobs.churn import churn
from app.jobs.customers import open_customers
from app.modes.schedule import Scheduler
from app.registry import Registry, shipped_root
from app.settings import Settings
from app.sql.journal import Journal
from app.sql.ledger import Entry, ErrorKey, ErrorSum, WeekKey
from app.sql.replay_schema import whatif, whatif_actions, whatif_errors
from app.sql.replays import Replays
from app.sql.runs import Runs
from app.sql.schema import weekly_charges
from app.testing import Clock
from simulator.customers import People, fill

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def operator(served: Any, namespace: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {served.token(namespace, operator=True)}"}
    return httpx.AsyncClient(base_url=served.url, headers=headers, timeout=30)


@pytest.fixture
def scored(settings: Settings) -> None:
    """Three hundred made-up customers, scored as of two days."""
    source = open_customers(f"sqlite:///{settings.data_dir / 'customers.db'}")
    fill(source, People(300, AS_OF - timedelta(days=400), AS_OF, seed=3), lambda _: None)
    runs = Runs.open(settings.database_url)
    scheduler = Scheduler([churn], runs, source, Registry(shipped_root()), Clock(AS_OF))
    for as_of in (AS_OF - timedelta(days=7), AS_OF):
        runs.ask("churn", as_of, again=False)
        claimed = runs.claim("churn", AS_OF, 0, as_of)
        assert claimed is not None
        assert scheduler.work(churn, claimed).state == "done"
    source.dispose()
    runs.close()


@pytest.mark.usefixtures("scored")
async def test_the_latest_run_at_a_glance(operator: httpx.AsyncClient) -> None:
    runs = (await operator.get("/v1/batch/runs")).json()["runs"]
    assert [(run["job"], run["state"]) for run in runs] == [("churn", "done")] * 2
    scores = (await operator.get("/v1/batch/scores/churn")).json()
    assert msgspec.convert(scores["as_of"], datetime) == AS_OF
    assert scores["subjects"] == runs[0]["scored"] == sum(each["n"] for each in scores["histogram"])
    assert (scores["histogram"][0]["from"], scores["histogram"][-1]["to"]) == (0.0, pytest.approx(1.0))
    ranked = [subject["at_risk_usd"] for subject in scores["likeliest"]]
    assert len(ranked) == 50
    assert ranked == sorted(ranked, reverse=True)
    likeliest = (await operator.get("/v1/batch/scores/churn", params={"by": "value"})).json()["likeliest"]
    assert likeliest[0]["value"] == max(subject["value"] for subject in likeliest) >= scores["likeliest"][0]["value"]
    assert all(reason["words"] for subject in scores["likeliest"] for reason in subject["reasons"])
    assert {each["feature"] for each in scores["drivers"]} == set(churn.columns)
    offered = [subject["offer"] for subject in scores["likeliest"] if subject["offer"]]
    assert offered
    assert sum(offer["n"] for offer in scores["offers"]) >= len(offered)


@pytest.mark.usefixtures("scored")
async def test_an_earlier_run_and_one_there_is_not(operator: httpx.AsyncClient) -> None:
    week_ago = (AS_OF - timedelta(days=7)).isoformat()
    earlier = await operator.get("/v1/batch/scores/churn", params={"as_of": week_ago})
    assert msgspec.convert(earlier.json()["as_of"], datetime) == AS_OF - timedelta(days=7)
    assert len(earlier.json()["trend"]) == 2
    never = await operator.get("/v1/batch/scores/churn", params={"as_of": "2020-01-01T00:00Z"})
    assert never.status_code == 404
    nonsense = await operator.get("/v1/batch/scores/churn", params={"as_of": "yesterday"})
    assert (nonsense.status_code, nonsense.json()["field"]) == (422, "as_of")
    nonsense = await operator.get("/v1/batch/scores/churn", params={"by": "reasons"})
    assert (nonsense.status_code, nonsense.json()["field"]) == (422, "by")


async def test_a_job_that_runs_hourly_buries_no_other(operator: httpx.AsyncClient, settings: Settings) -> None:
    runs, hour, week = Runs.open(settings.database_url), timedelta(hours=1), timedelta(days=7)
    hours = [AS_OF - n * hour for n in range(300)]
    runs.plan("hourly", hours[::2], hours[1::2], AS_OF)
    runs.plan("weekly", [AS_OF - n * week for n in (1, 2)], [], AS_OF)
    runs.close()

    async def asked(**query: str | int) -> tuple[list[tuple[str, datetime]], list[dict[str, Any]]]:
        told = (await operator.get("/v1/batch/runs", params=query)).json()
        listed = [(run["job"], msgspec.convert(run["as_of"], datetime)) for run in told["runs"]]
        return listed, [{**each, "last": msgspec.convert(each["last"], datetime)} for each in told["skipped"]]

    listed, skipped = await asked()
    assert [job for job, _ in listed].count("hourly") == 50
    assert listed[-2:] == [("weekly", AS_OF - week), ("weekly", AS_OF - 2 * week)]
    assert skipped == [{"job": "hourly", "runs": 49, "last": AS_OF - hour}]
    listed, skipped = await asked(job="hourly", limit=2, before=(AS_OF - 6 * hour).isoformat())
    assert listed == [("hourly", AS_OF - 8 * hour), ("hourly", AS_OF - 10 * hour)]
    assert skipped == [{"job": "hourly", "runs": 2, "last": AS_OF - 7 * hour}]
    assert await asked(job="churn") == ([], [])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "all"}, "limit"),
        ({"before": "now"}, "before"),
        ({"jobs": "churn"}, "jobs"),
    ],
)
async def test_what_cannot_be_paged_by_is_named(operator: httpx.AsyncClient, query: dict[str, str], field: str) -> None:
    refused = await operator.get("/v1/batch/runs", params=query)
    assert (refused.status_code, refused.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    "path", ["/v1/batch/runs?job=nope", "/v1/batch/scores/nope", "/v1/batch/scores/churn", "/v1/batch/reports/no/eta"]
)
async def test_what_there_is_not_is_not_found(operator: httpx.AsyncClient, path: str) -> None:
    answer = await operator.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


async def test_a_report_is_listed_and_read(operator: httpx.AsyncClient, settings: Settings) -> None:
    replays = Replays.open(settings.database_url)
    of = {"run": "r-1", "model": "duration"}
    counts = dict.fromkeys(("predicted", "failed", "answered", "decided", "flipped", "drifted"), 7)
    errors = {"stage": "initial", "slice": "all", "key": "", "loss": "absolute", "n": 7, "now": 3.0, "rmse": 4.0}
    with replays.transaction() as connection:
        connection.execute(whatif.insert(), {**of, "version": "2", "unit": "min", "made_at": AS_OF, **counts})
        connection.execute(whatif_errors.insert(), {**of, **errors, "pairs": 0})
        spread = {"n": 7, "mean": 12.0, "least": 3.0, "most": 40.0}
        connection.execute(whatif_actions.insert(), {**of, "was": "quote", "would_be": "confirm", **spread})
    replays.close()
    (head,) = (await operator.get("/v1/batch/reports")).json()["reports"]
    assert (head["run"], head["model"], head["flipped"]) == ("r-1", "duration", 7)
    report = (await operator.get("/v1/batch/reports/r-1/duration")).json()
    assert report["errors"][0]["change"] is None
    assert report["actions"][0]["would_be"] == "confirm"


async def test_live_errors_come_week_by_week(operator: httpx.AsyncClient, settings: Settings) -> None:
    key = ErrorKey("duration", "2", "initial", "min")
    weeks = {
        WeekKey(key, "2026-W43"): ErrorSum(2, 2.0, 6.0, 20.0),
        WeekKey(key, "2026-W44"): ErrorSum(1, -1.0, 1.0, 1.0),
    }
    with closing(Journal.open(settings.database_url)) as journal:
        journal.save(Entry(AS_OF, errors=weeks))
    answer = await operator.get("/v1/batch/errors")
    assert [(e["week"], e["model"], e["version"], e["n"], e["mae"], e["bias"]) for e in answer.json()["errors"]] == [
        ("2026-W43", "duration", "2", 2, 3.0, 1.0),
        ("2026-W44", "duration", "2", 1, 1.0, -1.0),
    ]


async def test_what_the_card_decisions_were_worth_comes_week_by_week(
    operator: httpx.AsyncClient, settings: Settings
) -> None:
    weeks = [("2026-W43", "block", 4, 3, 300.0), ("2026-W43", "allow", 0, 1, 40.0), ("2026-W44", "review", 2, 0, 0.0)]
    names = ("week", "action", "decided", "reported", "reported_usd")
    with closing(Journal.open(settings.database_url)) as journal, journal.transaction() as connection:
        connection.execute(weekly_charges.insert(), [dict(zip(names, row, strict=True)) for row in weeks])
    first, second = (await operator.get("/v1/batch/errors")).json()["cards"]
    assert (first["week"], first["precision"], first["recall"], first["saved_usd"]) == ("2026-W43", 0.75, 0.75, 325.0)
    assert (second["week"], second["reviewed"], second["precision"], second["recall"]) == ("2026-W44", 2, 0.0, None)
    assert second["saved_usd"] == -10.0
    assert "allowed" not in first  # what is allowed and not kept is counted, without its time


async def test_only_operators_may_look(client: httpx.AsyncClient) -> None:
    for what in ("runs", "errors", "reports"):
        assert (await client.get(f"/v1/batch/{what}")).status_code == 403


async def test_the_page_and_its_charts_come_from_here(operator: httpx.AsyncClient) -> None:
    page = await operator.get("/batch")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert (await operator.get("/static/plotly/plotly.min.js")).status_code == 200
    assert (await operator.get("/static/js/batch.js")).status_code == 200
