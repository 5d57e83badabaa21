"""A campaign's life through the API, as far as it goes without binds."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.admin.conftest import Site


@pytest.fixture
def audience(shop: httpx.Client) -> httpx.Client:
    """The shop with a name field and five members, of whom one is suppressed."""
    assert shop.post("/v1/fields", json={"name": "name", "kind": "text"}).status_code == 201
    for i in range(5):
        body = {"msisdn": f"+49151123456{i:02}", "values": {"name": f"Name {i}"}}
        assert shop.post("/v1/members", json=body).status_code == 201
    assert shop.post("/v1/suppressions", json={"numbers": ["+4915112345604"]}).status_code == 200
    return shop


def draft(client: httpx.Client, **more: object) -> httpx.Response:
    body = {"title": "Spring", "sender": "Shop", "text": "Hello {name}, you have {points} points", **more}
    return client.post("/v1/campaigns", json=body)


def once(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_an_edit_from_an_old_version_is_412(audience: httpx.Client):
    made = draft(audience)
    tag = made.headers["ETag"]
    path = f"/v1/campaigns/{made.json()['id']}"
    assert audience.get(path).headers["ETag"] == tag
    first = audience.patch(path, json={"title": "Summer"}, headers={"If-Match": tag})
    assert (first.status_code, first.json()["title"]) == (200, "Summer")
    second = audience.patch(path, json={"title": "Autumn"}, headers={"If-Match": tag})
    assert (second.status_code, audience.get(path).json()["title"]) == (412, "Summer")
    assert audience.patch(path, json={"title": "x"}, headers={"If-Match": '"a"'}).status_code == 412
    assert audience.patch(path, json={"title": "Winter"}, headers={"If-Match": "*"}).status_code == 200
    assert first.headers["ETag"] != tag


def test_a_text_with_an_unknown_or_an_attribute_field_is_refused_with_the_nearest_name(audience: httpx.Client):
    answer = draft(audience, text="Hello {nmae}")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert "name" in answer.json()["did_you_mean"]
    for text in ("{name.__class__}", "{name!r}", "{name:9999999999}", "{0}", "{"):
        assert draft(audience, text=text).status_code == 422, text


def test_a_campaign_goes_from_draft_to_preview_to_running_to_cancelled(audience: httpx.Client):
    campaign = draft(audience).json()["id"]
    path = f"/v1/campaigns/{campaign}"
    preview = audience.post(f"{path}:preview")
    assert preview.status_code == 200, preview.text
    shown = preview.json()
    assert (shown["audience"], shown["will_send"], shown["skipped"]) == (5, 4, {"suppressed": 1})
    assert len(shown["samples"]) == 4
    wrong = audience.post(f"{path}:start", json={"token": "no"}, headers=once("a"))
    assert (wrong.status_code, wrong.json()["code"]) == (409, "state_conflict")
    without = audience.post(f"{path}:start", json={"token": shown["token"]})
    assert (without.status_code, without.json()["code"]) == (400, "idempotency_key_missing")
    started = audience.post(f"{path}:start", json={"token": shown["token"]}, headers=once("b"))
    assert (started.status_code, started.json()["state"]) == (200, "running")
    again = audience.post(f"{path}:start", json={"token": shown["token"]}, headers=once("b"))
    assert again.headers["Idempotent-Replayed"] == "true"
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert audience.post(f"{path}:{verb}").json()["state"] == state
    assert audience.post(f"{path}:resume").status_code == 409
    assert audience.delete(path).status_code == 409
    progress = audience.get(f"{path}/progress").json()
    assert (progress["audience"], progress["skipped"], progress["sent"]) == (5, {"cancelled": 5}, 0)


def test_recipients_come_as_pages_and_as_one_stream(audience: httpx.Client):
    path = f"/v1/campaigns/{draft(audience).json()['id']}"
    token = audience.post(f"{path}:preview").json()["token"]
    assert audience.post(f"{path}:start", json={"token": token}, headers=once("b")).status_code == 200
    first = audience.get(f"{path}/recipients", params={"limit": 3}).json()
    rest = audience.get(f"{path}/recipients", params={"limit": 3, "after": first["next"]}).json()
    paged = first["data"] + rest["data"]
    assert ([row["rank"] for row in paged], rest["next"]) == ([0, 1, 2, 3, 4], None)
    with audience.stream("GET", f"{path}/recipients", headers={"Accept": "application/x-ndjson"}) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert [json.loads(line) for line in answer.iter_lines()] == paged
    assert audience.get(f"{path}/recipients", params={"state": "delivered"}).json()["data"] == []
    assert len(audience.get(f"{path}/recipients", params={"decision": "undecided"}).json()["data"]) == 5
    assert audience.get(f"{path}/recipients", params={"state": "lost"}).status_code == 422


def test_campaigns_are_listed_newest_first(site: Site, audience: httpx.Client):
    made = []
    for _ in range(3):
        made.append(draft(audience).json()["id"])
        site.clock.advance(1)
    first = audience.get("/v1/campaigns", params={"limit": 2}).json()
    rest = audience.get("/v1/campaigns", params={"limit": 2, "after": first["next"]}).json()
    assert [row["id"] for row in first["data"] + rest["data"]] == made[::-1]
    assert rest["next"] is None
    assert audience.delete(f"/v1/campaigns/{made[0]}").status_code == 204
    assert audience.get(f"/v1/campaigns/{made[0]}").status_code == 404
