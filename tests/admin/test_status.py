"""Health, metrics, status, inbound: what an operator and a program look at again and again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.records.changes import Changes
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.values import pack
from tests.admin.conftest import Site, running


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from running(tmp_path)


def samples(site: Site) -> dict[str, float]:
    answer = httpx.get(f"{site.url}/metrics")
    assert answer.status_code == 200, answer.text
    return {
        sample.name + "".join(f"[{value}]" for _, value in sorted(sample.labels.items(), reverse=True)): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_tell_binds_commits_and_campaigns(site: Site, shop: httpx.Client):
    assert shop.post("/v1/campaigns", json={"title": "Spring", "text": "Hello"}).status_code == 201
    seen = samples(site)
    assert seen["volley_dispatcher_up"] == 1
    assert seen["volley_binds_up[main]"] == 1
    assert (seen["volley_submits_total"], seen["volley_bind_submits_total[main][0]"]) == (90, 70)
    assert seen["volley_faults_total[unparsed]"] == 3
    assert seen["volley_commit_ms_p99"] == 3
    assert [seen[f"volley_kept_ids{what}"] for what in ("", "_segments", "_octets", "_days")] == [
        400_000,
        2,
        3_600_000,
        37,
    ]
    assert seen["volley_kept_ids_oldest_seconds"] == 1_789_000_000
    assert seen["volley_campaigns[draft]"] == 1
    assert seen["volley_recipients[uncertain]"] == 0


def test_how_full_the_store_is_stands_in_healthz_and_metrics_with_the_dispatcher_down_too(site: Site):
    assert httpx.get(f"{site.url}/healthz").json() == {"status": "ok", "store": "ok", "detail": None, "warm": None}
    site.call(site.dispatcher.stop)
    limits = dataclasses.replace(site.settings.store, store_max_octets=1_000_000, alarm_percent=1)
    site.app.state.settings = dataclasses.replace(site.settings, store=limits)
    found = httpx.get(f"{site.url}/healthz").json()
    assert found["store"] == "alarm" and "1 % of store_max_octets = 1,000,000" in found["detail"]
    seen = samples(site)
    assert (seen["volley_store_state"], seen["volley_store_max_octets"]) == (1, 1_000_000)
    assert seen["volley_disk_free_octets"] > 0 and "volley_stale_readers_cleared" not in seen


def test_metrics_of_a_dispatcher_that_is_down_are_absent_and_not_stale(site: Site):
    site.call(site.dispatcher.stop)
    seen = samples(site)
    assert (seen["volley_dispatcher_up"], seen["volley_store_readable"]) == (0, 1)
    assert "volley_in_flight" not in seen


def test_ready_means_store_and_dispatcher(site: Site):
    assert httpx.get(f"{site.url}/readyz").json() == {"status": "ok", "store": "ok", "dispatcher": "ok"}


def test_status_and_binds_are_the_operators(site: Site, shop: httpx.Client):
    assert site.http.get("/v1/status").json()["claim_credit"] == 700
    assert [bind["state"] for bind in site.http.get("/v1/binds").json()["data"]] == ["bound", "waiting"]
    assert shop.get("/v1/status").status_code == 403
    site.call(site.dispatcher.stop)
    assert site.http.get("/v1/binds").status_code in (200, 503)  # a figure may be SEEN_S old


def test_inbound_is_followed_by_its_cursor(site: Site, shop: httpx.Client):
    def arrive(number: int, text: str | None) -> None:
        row = {"from": "4915112345678", "to": "Shop", "text": text, "what": "inbox", "at_ms": 1_790_000_000_000}
        changes = Changes()
        changes.put("inbound", TENANT_U64.pack(1, number), pack({**row, "data_coding": 8, "octets": b"\x01\xff"}))
        site.call(lambda: site.store.apply(changes))

    arrive(1, "hello")
    arrive(2, None)
    first = shop.get("/v1/inbound").json()
    assert [row["text"] for row in first["data"]] == ["hello", None]
    assert (first["data"][1]["octets"], first["next"]) == ("01ff", None)
    after = first["data"][-1]["cursor"]
    assert shop.get("/v1/inbound", params={"after": after}).json()["data"] == []
    arrive(3, "more")
    assert [row["text"] for row in shop.get("/v1/inbound", params={"after": after}).json()["data"]] == ["more"]
    newest = shop.get("/v1/inbound", params={"order": "newest", "limit": 1}).json()
    assert newest["data"][0]["text"] == "more"
    older = shop.get("/v1/inbound", params={"order": "newest", "after": newest["next"]}).json()
    assert [row["text"] for row in older["data"]] == [None, "hello"]
