"""What the card decisions were worth, as the gateway tells it."""

import httpx

from app.events import FraudReported
from app.sql.card_journal import CardJournal
from app.sql.card_ledger import Count, Pending
from app.testing import START


async def test_status_and_metrics_tell_what_the_card_decisions_were_worth(served, settings) -> None:
    headers = {"Authorization": f"Bearer {served.token('op', operator=True)}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
        assert (await client.get("/v1/status")).json()["cards"] is None
        assert "millrace_cards_missed 0.0" in (await client.get("/metrics")).text
        journal = CardJournal.open(settings.database_url)
        report = FraudReported(
            event_id="f", user_id="u", at=START, transaction_id="t", card_id="c", terminal_id="s", source="pos",
            amount_usd=30.0, made_at=START,
        )  # fmt: skip
        journal.settle(Pending({0: Count(7, 7)}, reports=[report]), START)
        journal.close()
        told = (await client.get("/metrics")).text
        assert "millrace_cards_allowed 7.0" in told
        assert "millrace_cards_missed 1.0" in told
        assert "millrace_cards_recall 0.0" in told
        assert "millrace_cards_precision NaN" in told

        async def status() -> dict[str, object] | None:
            cards: dict[str, object] | None = (await client.get("/v1/status")).json()["cards"]
            return cards

        while (cards := await status()) is None:
            pass
    assert (cards["allowed"], cards["missed"], cards["missed_usd"], cards["precision"]) == (7, 1, 30.0, None)
