"""Idempotency-Key: one wish, however often it is sent."""

from __future__ import annotations

import httpx

from tests.admin.conftest import Site


def test_moving_points_without_a_key_is_refused(shop: httpx.Client):
    member = shop.post("/v1/members", json={"msisdn": "+4915112345678"}).json()["id"]
    body = {"member": member, "delta": 1, "source": "till"}
    answer = shop.post("/v1/points/entries", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")
    for wrong in ("", "x" * 201, "tab\there"):
        refused = shop.post("/v1/points/entries", json=body, headers={"Idempotency-Key": wrong})
        assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_invalid")


def test_a_replay_gives_the_first_answer_and_says_so(shop: httpx.Client):
    once = {"Idempotency-Key": "make-it"}
    first = shop.post("/v1/campaigns", json={"title": "Spring", "text": "Hello"}, headers=once)
    again = shop.post("/v1/campaigns", json={"title": "Spring", "text": "Hello"}, headers=once)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(shop.get("/v1/campaigns").json()["data"]) == 1


def test_a_key_with_another_body_or_path_is_422(shop: httpx.Client):
    once = {"Idempotency-Key": "make-it"}
    assert shop.post("/v1/campaigns", json={"title": "Spring", "text": "Hello"}, headers=once).status_code == 201
    for answer in (
        shop.post("/v1/campaigns", json={"title": "Autumn", "text": "Hello"}, headers=once),
        shop.post("/v1/segments", json={"title": "Spring", "expr": "everyone"}, headers=once),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")


def test_a_replayed_key_does_not_show_a_secret_that_opens_nothing(site: Site):
    once = {"Idempotency-Key": "one-key"}
    body = {"title": "till", "scopes": ["points:write"]}
    first = site.http.post("/v1/keys", json=body, headers=once).json()
    again = site.http.post("/v1/keys", json=body, headers=once).json()
    assert first["secret"].startswith("vk_")
    assert (again["id"], again["secret"]) == (first["id"], None)


def test_tenants_do_not_share_keys_of_requests(site: Site):
    once = {"Idempotency-Key": "same"}
    for title in ("one", "two"):
        answer = site.key(site.tenant(title)).post("/v1/campaigns", json={"title": title, "text": "x"}, headers=once)
        assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)
