"""The control socket from the admin's end: down, back, silent, gone in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from admin import link
from tests.admin.conftest import Site, running


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from running(tmp_path)


def test_with_the_dispatcher_down_reads_go_on_and_changes_are_503(site: Site, shop: httpx.Client):
    member = shop.post("/v1/members", json={"msisdn": "+4915112345678"}).json()["id"]
    site.call(site.dispatcher.stop)
    assert shop.get(f"/v1/members/{member}").status_code == 200
    assert shop.post("/v1/segments:count", json={"expr": "everyone"}).json()["matched"] == 1
    answer = shop.patch(f"/v1/members/{member}", json={"values": {}})
    assert (answer.status_code, answer.json()["code"]) == (503, "dispatcher_down")
    assert int(answer.headers["Retry-After"]) > 0
    assert "maybe_done" not in answer.json()
    assert httpx.get(f"{site.url}/readyz").status_code == 503
    assert httpx.get(f"{site.url}/healthz").status_code == 200

    site.call(site.dispatcher.start)
    assert shop.patch(f"/v1/members/{member}", json={"values": {}}).status_code == 200
    assert site.app.state.link.statistics().connected >= 1


def test_a_dispatcher_that_dies_before_its_answer_leaves_it_open_whether_it_was_done(site: Site, shop: httpx.Client):
    site.dispatcher.silent = True

    def end_it() -> None:
        while not site.app.state.link.statistics().waiting:
            time.sleep(0.005)
        site.call(site.dispatcher.stop)

    ending = threading.Thread(target=end_it)
    ending.start()
    answer = shop.post("/v1/segments", json={"title": "all", "expr": "everyone"})
    ending.join()
    assert (answer.status_code, answer.json()["code"]) == (503, "dispatcher_down")
    assert answer.json()["maybe_done"] is True
    assert site.app.state.link.statistics().waiting == 0


def test_a_silent_dispatcher_is_504_and_leaves_nothing_waiting(site: Site, shop: httpx.Client, monkeypatch):
    short = {"timeout_s": 0.05, "reason": "", "version": None}
    monkeypatch.setattr("admin.asking.Ask.__call__.__kwdefaults__", short, raising=False)
    site.dispatcher.silent = True
    answer = shop.post("/v1/segments", json={"title": "all", "expr": "everyone"})
    assert (answer.status_code, answer.json()["code"]) == (504, "dispatcher_slow")
    assert site.app.state.link.statistics().waiting == 0


def test_many_commands_share_few_connections(site: Site, shop: httpx.Client):
    for i in range(20):
        assert shop.post("/v1/members", json={"msisdn": f"+49151123456{i:02}"}).status_code == 201
    assert site.app.state.link.statistics().connected <= link.CONNECTIONS
    assert site.app.state.link.statistics().lost == 0
