"""Rehearsals over HTTP: a job with its steps and its answer, one a tenant, cancelled without a trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from admin.rehearsed import FOLDER as REHEARSED
from admin.rehearsing import Rehearsals
from dispatcher.cli.rehearse_folder import FOLDER
from tests.admin.conftest import Site

ENDPOINT = '[[endpoint]]\nname = "main"\nhost = "192.0.2.1"\nsystem_id = "real"\n'


@pytest.fixture
def draft(site: Site, shop: httpx.Client) -> Callable[..., str]:
    (site.settings.data / "volley.toml").write_text(ENDPOINT)
    for n in range(2):
        add(shop, n)

    def make(**parts: Any) -> str:
        made = shop.post("/v1/campaigns", json={"title": "Autumn", "text": "Hello you", **parts})
        assert made.status_code == 201, made.text
        return f"/v1/campaigns/{made.json()['id']}"

    return make


def add(shop: httpx.Client, n: int) -> None:
    assert shop.post("/v1/members", json={"msisdn": f"+49151123450{n:02}"}).status_code == 201


def until(shop: httpx.Client, path: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not holds(job := shop.get(f"{path}/rehearsal").json()):
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def test_a_rehearsal_is_a_job_whose_answer_is_there_when_it_is_done(site, shop, draft):
    path = draft()
    assert shop.get(f"{path}/rehearsal").status_code == 404
    asked = {"simulator": {"states": "UNDELIV:1:001", "delay_ms": "5"}}
    begun = shop.post(f"{path}:rehearse", json=asked)
    assert (begun.status_code, begun.json()["state"]) == (202, "running")
    job = until(shop, path, lambda job: job["state"] != "running")
    assert (job["state"], job["problem"]) == ("done", None)
    answer = job["answer"]
    assert (answer["messages"], answer["differences"]) == (2, [])
    assert [(one["state"], one["recipients"]) for one in answer["errors"]] == [("failed", 2)]
    assert [sample["text"] for sample in answer["samples"]] == ["Hello you"] * 2
    assert shop.get(path).json()["state"] == "draft"
    assert shop.get(f"{path}/progress").json()["sent"] == 0
    lines = [line["command"] for line in shop.get("/v1/audit").json()["data"]]
    assert lines.count("campaign.rehearse") == 1
    assert not (site.settings.data / FOLDER).exists()


def test_one_is_refused_while_another_runs_and_a_cancelled_one_leaves_nothing(site, shop, draft):
    slow, other = draft(rate=1), draft()
    for n in range(2, 20):
        add(shop, n)
    assert shop.post(f"{slow}:rehearse").status_code == 202
    refused = shop.post(f"{other}:rehearse")
    assert (refused.status_code, refused.json()["code"]) == (409, "rehearsal_running")
    until(shop, slow, lambda job: job["step"] == "send")
    cancelled = shop.post(f"{slow}:cancel_rehearsal").json()
    assert cancelled["state"] == "cancelled"
    assert not (site.settings.data / FOLDER).exists()
    assert shop.post(f"{slow}:cancel_rehearsal").json()["state"] == "cancelled"


def test_what_a_start_would_be_refused_for_stands_in_the_job(site, shop, draft):
    nobody = draft(expr='phone = "+4915100000000"')
    assert shop.post(f"{nobody}:rehearse").status_code == 202
    job = until(shop, nobody, lambda job: job["state"] != "running")
    assert (job["state"], job["problem"]["code"]) == ("failed", "no_recipients")
    assert shop.post("/v1/campaigns/cmp_038G000000000:rehearse").status_code == 404
    wrong = shop.post(f"{nobody}:rehearse", json={"share": 2})
    assert wrong.status_code == 422
    wrong = shop.post(f"{nobody}:rehearse", json={"simulator": {"states": "--log"}})
    assert wrong.status_code == 422


def test_a_restart_of_the_api_keeps_answers_without_texts_and_begins_anew_what_it_cut_off_once(site, shop, draft):
    quick, slow = draft(), draft(rate=1)
    assert shop.post(f"{quick}:rehearse").status_code == 202
    known = until(shop, quick, lambda job: job["state"] == "done")
    for n in range(2, 20):
        add(shop, n)
    assert shop.post(f"{slow}:rehearse").status_code == 202
    for begun in (2, 3):
        until(shop, slow, lambda job: job["step"] == "send")
        restart(site)
        job = shop.get(f"{slow}/rehearsal").json()
        assert job["begun"] == min(begun, 2)
        if begun == 2:
            assert (job["state"], job["problem"]) == ("running", None)
    assert (job["state"], job["problem"]["code"]) == ("failed", "rehearsal_interrupted")
    kept = shop.get(f"{quick}/rehearsal").json()
    assert {**kept["answer"], "samples": []} == kept["answer"] and kept["answer"]["parts"] == known["answer"]["parts"]
    assert "Hello you" not in "".join(path.read_text() for path in (site.settings.data / REHEARSED).iterdir())
    assert not (site.settings.data / FOLDER).exists()


def restart(site: Site) -> None:
    """What the next process of the API does with what the one before left."""

    async def renew() -> None:
        await site.app.state.rehearsals.close()
        site.app.state.rehearsals = Rehearsals(site.settings, site.clock)
        site.app.state.rehearsals.open()

    site.call(renew)
