"""Binds over the API: figures for operators, commands with a reason, metrics of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.admin.conftest import STATUS, Site, running

BIND = {
    "endpoint": "main", "bind": 0, "name": "main.0", "mode": "trx", "state": "bound", "since_ms": 1_500, "binds": 3,
    "submits": 70, "responses": 69, "receipts": 60, "timeouts": 2, "in_flight": 1, "window": 10,
    "response_ms_p50": 4.5, "response_ms_p99": 20.0,
    "errors": [{"status": "0x00000058", "name": "ESME_RTHROTTLED", "count": 7, "last_ms": 5}],
    "alarm": {"code": "credentials", "text": "refused", "remedy": "check the password", "since_ms": 4},
}  # fmt: skip
ENDPOINT = {
    "endpoint": "main",
    "bound": 1,
    "rate": 100,
    "rate_now": 49,
    "flow": {"limit": 49, "events": 3},
    "alarms": [{"object": "main.0"} | BIND["alarm"]],
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setitem(STATUS, "binds", [BIND])
    monkeypatch.setitem(STATUS, "endpoints", [ENDPOINT])
    yield from running(tmp_path)


def test_binds_and_endpoints_show_all_that_is_known_of_them(site: Site):
    assert site.http.get("/v1/binds").json() == {"data": [BIND], "next": None}
    assert site.http.get("/v1/endpoints").json()["data"] == [ENDPOINT]


def test_a_bind_is_connected_drained_and_disconnected_with_a_reason(site: Site):
    for word in ("connect", "pause", "drain", "disconnect", "reconnect"):
        answer = site.http.post(f"/v1/binds/main.0:{word}", json={"reason": "tonight"})
        assert answer.status_code == 200 and answer.json()["id"] == "main.0", answer.text
        assert site.http.post(f"/v1/binds/main.0:{word}", json={}).status_code == 422
        assert site.http.post(f"/v1/binds/main.0:{word}", json={"reason": "  "}).json()["code"] == "reason_missing"


def test_an_endpoint_gets_another_rate_and_the_settings_are_read_anew_with_a_reason(site: Site):
    answer = site.http.post("/v1/endpoints/main:rate", json={"parts_per_s": 500, "reason": "slow today"})
    assert answer.status_code == 200 and answer.json()["id"] == "main", answer.text
    answer = site.http.post("/v1/endpoints:reload", json={"reason": "a new route"})
    assert answer.status_code == 200 and answer.json()["added"] == [], answer.text
    assert site.http.post("/v1/endpoints:reload", json={}).status_code == 422
    assert site.http.post("/v1/endpoints/main:rate", json={"reason": "x"}).status_code == 422


def test_only_an_operator_with_the_right_may(site: Site, shop: httpx.Client):
    assert shop.post("/v1/binds/main.0:drain", json={"reason": "x"}).status_code == 403
    assert shop.post("/v1/endpoints/main:rate", json={"parts_per_s": 1, "reason": "x"}).status_code == 403
    assert shop.post("/v1/endpoints:reload", json={"reason": "x"}).status_code == 403
    assert shop.get("/v1/endpoints").status_code == 403


def test_metrics_tell_of_each_bind_its_state_times_refusals_and_alarm(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(STATUS, "reload_error", "window = 0")
    text = httpx.get(f"{site.url}/metrics").text
    for line in (
        'volley_bind_response_ms_p99{bind="0",endpoint="main"} 20.0',
        'volley_bind_refusals_total{bind="0",endpoint="main",status="ESME_RTHROTTLED"} 7.0',
        'volley_alarm{code="credentials",endpoint="main",object="main.0"} 1.0',
        'volley_endpoint_rate{endpoint="main"} 49.0',
        'volley_endpoint_slowed_total{endpoint="main"} 3.0',
        'volley_bind_connections_total{bind="0",endpoint="main"} 3.0',
        'volley_bind_window{bind="0",endpoint="main"} 10.0',
        'volley_bind_state{bind="0",endpoint="main",state="bound"} 1.0',
        'volley_bind_since_seconds{bind="0",endpoint="main"} 1.5',
        'volley_alarm{code="reload_refused",endpoint="",object="settings"} 1.0',
    ):
        assert line in text, line
