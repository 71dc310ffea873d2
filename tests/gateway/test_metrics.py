"""What `/metrics` tells: the gateway's own counters and those of its process, each once."""

from collections import Counter

import httpx
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry import REPLIES


async def test_what_the_process_counts_is_told_once(client: httpx.AsyncClient) -> None:
    REPLIES.labels("answer").inc()
    await client.get("/health/live")
    told = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(told)}
    [answers] = [
        sample
        for sample in families["millrace_replies"].samples
        if sample.name == "millrace_replies_total" and sample.labels == {"kind": "answer"}
    ]
    assert answers.value >= 1
    assert families["process_cpu_seconds"].samples
    assert any(sample.labels["route"] == "/health/live" for sample in families["millrace_http_requests"].samples)
    helped = Counter(line.split()[2] for line in told.splitlines() if line.startswith("# HELP"))
    assert set(helped.values()) == {1}
