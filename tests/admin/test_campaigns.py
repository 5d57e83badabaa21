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
    assert answer.json()["did_you_mean"] == "name"
    for text in ("{name.__class__}", "{name!r}", "{name:9999999999}", "{0}", "{"):
        assert draft(audience, text=text).status_code == 422, text


def test_a_coupon_pool_is_named_by_id_or_name_and_null_takes_it_away(audience: httpx.Client):
    pool = audience.post("/v1/coupon_pools", json={"name": "Cake", "value": "one slice"}).json()["id"]
    text = "For you: {coupon}"
    for named in (pool, "cake"):
        made = draft(audience, text=text, coupon_pool=named)
        assert (made.status_code, made.json()["coupon_pool"]) == (201, pool), made.text
    path = f"/v1/campaigns/{made.json()['id']}"
    seen = audience.post(f"{path}:preview").json()
    assert (seen["coupon_pool"]["id"], seen["samples"][0]["text"]) == (pool, "For you: XXXXXXXXXXXX")
    assert audience.post(f"/v1/coupon_pools/{pool}:close", json={}).status_code == 200
    started = audience.post(f"{path}:start", json={"token": seen["token"]}, headers=once("1"))
    assert (started.status_code, started.json()["code"]) == (409, "coupon_pool_closed")
    assert audience.patch(path, json={"coupon_pool": None}).json()["code"] == "unknown_field"
    edited = audience.patch(path, json={"coupon_pool": None, "text": "Hi"})
    assert (edited.status_code, edited.json()["coupon_pool"]) == (200, None)
    wrong = draft(audience, text=text, coupon_pool="Cakes")
    assert (wrong.status_code, wrong.json()["did_you_mean"]) == (422, "Cake")


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


def test_a_stream_of_a_group_that_there_is_not_is_refused_before_it_begins(audience: httpx.Client):
    path = f"/v1/campaigns/{draft(audience).json()['id']}"
    audience.post(f"{path}:preview")
    for accept in ("application/json", "application/x-ndjson"):
        answer = audience.get(f"{path}/recipients", params={"group": "Z"}, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json"), accept


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
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert [{name: value for name, value in line.items() if name != "next"} for line in lines] == paged
    stream = {"params": {"after": lines[2]["next"]}, "headers": {"Accept": "application/x-ndjson"}}
    assert audience.get(f"{path}/recipients", **stream).text.splitlines() == [json.dumps(line) for line in lines[3:]]
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
    assert audience.get("/v1/campaigns", params={"state": "running"}).json()["data"] == []
    assert len(audience.get("/v1/campaigns", params={"state": "draft"}).json()["data"]) == 3
    assert audience.get("/v1/campaigns", params={"state": "asleep"}).status_code == 422
    assert [row["id"] for row in first["data"] + rest["data"]] == made[::-1]
    assert rest["next"] is None
    assert audience.delete(f"/v1/campaigns/{made[0]}").status_code == 204
    assert audience.get(f"/v1/campaigns/{made[0]}").status_code == 404


def previewed(client: httpx.Client, **more: object) -> tuple[str, str]:
    """(path, token) of a draft that was previewed."""
    path = f"/v1/campaigns/{draft(client, **more).json()['id']}"
    return path, client.post(f"{path}:preview").json()["token"]


def limited(site: Site, client: httpx.Client, above: int = 2) -> str:
    """The tenant of a client's key, with a limit above which somebody else approves."""
    tenant = client.get("/v1/tenants").json()["data"][0]["id"]
    answer = site.http.patch(f"/v1/tenants/{tenant}", json={"approval_above": above})
    assert (answer.status_code, answer.json()["approval_above"]) == (200, above)
    return str(tenant)


def test_a_tenants_new_zone_names_the_campaigns_that_keep_the_old_one(site: Site, audience: httpx.Client):
    made = draft(audience, schedule={"at": "2027-12-01T09:00"}).json()["id"]
    tenant = audience.get("/v1/tenants").json()["data"][0]
    path = f"/v1/tenants/{tenant['id']}"
    answer = site.http.patch(path, json={"zone": "Pacific/Auckland", "region": "NZ"})
    assert answer.status_code == 200, answer.text
    assert made in answer.json()["warnings"][0] and f"by {tenant['zone']}" in answer.json()["warnings"][0]
    now = audience.get(path).json()
    assert (now["zone"], now["region"]) == ("Pacific/Auckland", "NZ")
    refused = site.http.patch(path, json={"zone": "Mars"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/zone")
    assert audience.patch(path, json={"zone": "UTC"}).status_code == 403  # the operator's to change


def test_above_the_limit_another_key_approves_what_this_one_wrote(site: Site, audience: httpx.Client):
    tenant = limited(site, audience)
    path, token = previewed(audience)
    start = {"json": {"token": token}}
    refused = audience.post(f"{path}:start", **start, headers=once("a1"))
    assert (refused.status_code, refused.json()["code"], refused.json()["count"]) == (409, "approval_required", 4)
    assert audience.post(f"{path}:submit", json={"reason": "for Monday"}).json()["state"] == "awaiting_approval"
    own = audience.post(f"{path}:approve")
    assert (own.status_code, own.json()["code"]) == (403, "own_approval")
    assert site.key(tenant, "campaigns:write").post(f"{path}:approve").json()["code"] == "scope_missing"
    approver = site.key(tenant, "campaigns:approve")
    approved = approver.post(f"{path}:approve", json={"reason": "read"})
    assert (approved.json()["state"], approved.json()["history"][-1]["reason"]) == ("approved", "read")
    assert audience.post(f"{path}:start", **start, headers=once("a2")).json()["state"] == "running"


def test_a_rejection_needs_a_reason_and_an_edit_takes_an_approval(site: Site, audience: httpx.Client):
    approver = site.key(limited(site, audience), "campaigns:approve")
    path, _ = previewed(audience)
    audience.post(f"{path}:submit")
    assert approver.post(f"{path}:reject", json={}).status_code == 422
    assert approver.post(f"{path}:reject", json={"reason": "typo"}).json()["state"] == "draft"
    audience.post(f"{path}:submit")
    approved = approver.post(f"{path}:approve")
    edited = audience.patch(path, json={"title": "May"}, headers={"If-Match": approved.headers["ETag"]})
    assert (edited.json()["state"], edited.json()["approval"]) == ("draft", None)
    stale = audience.patch(path, json={"title": "June"}, headers={"If-Match": approved.headers["ETag"]})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_changed")


def test_only_an_operator_changes_a_tenants_rules(site: Site, audience: httpx.Client):
    tenant = audience.get("/v1/tenants").json()["data"][0]["id"]
    assert audience.patch(f"/v1/tenants/{tenant}", json={"approval_above": 0}).json()["code"] == "operator_only"
    assert site.http.patch("/v1/tenants/ten_000000000ZZZZ", json={"approval_above": 0}).status_code == 404
    assert site.http.patch(f"/v1/tenants/{tenant}", json={"members": 0}).status_code == 422
    for wrong in ({"title": " "}, {"sender": "Bäckerei"}, {"brand": " "}):
        assert site.http.patch(f"/v1/tenants/{tenant}", json=wrong).json()["code"] == "invalid_value", wrong
    named = {"title": "Konditorei", "sender": "CAKES", "brand": "Cakes"}
    assert site.http.patch(f"/v1/tenants/{tenant}", json=named).json()["title"] == "Konditorei"
    assert named.items() <= audience.get(f"/v1/tenants/{tenant}").json().items()
    other = site.key(site.tenant("Other"), "*")
    assert other.get(f"/v1/tenants/{tenant}").status_code == 404


def test_a_start_with_a_time_is_scheduled_and_a_changed_time_says_so(audience: httpx.Client):
    schedule = {"at": "2026-12-01T09:00", "zone": "Europe/Berlin", "window": {"from": "09:00", "to": "20:00"}}
    path, token = previewed(audience, schedule=schedule)
    moved = audience.patch(path, json={"schedule": {**schedule, "at": "2026-12-02T09:00"}})
    assert moved.json()["schedule"]["at"] == "2026-12-02T09:00"
    refused = audience.post(f"{path}:start", json={"token": token}, headers=once("s1"))
    assert (refused.status_code, refused.json()["changed"]) == (409, ["schedule"])
    audience.patch(path, json={"schedule": schedule})
    started = audience.post(f"{path}:start", json={"token": token}, headers=once("s2"))
    assert (started.json()["state"], started.json()["due_at"]) == ("scheduled", "2026-12-01T08:00:00.000Z")
    assert audience.get(f"{path}/progress").json()["due_at"] == "2026-12-01T08:00:00.000Z"
    edited = audience.patch(path, json={"schedule": None})
    assert (edited.json()["state"], edited.json()["schedule"]) == ("draft", None)


@pytest.mark.parametrize(
    ("schedule", "code"),
    [
        ({"at": "2026-09-01T09:00"}, "schedule_in_the_past"),
        ({"at": "2027-03-28T02:30", "zone": "Europe/Berlin"}, "schedule_missing_hour"),
        ({"window": {"from": "09:00", "to": "09:00"}}, "schedule_never_opens"),
        ({"window": {"from": "09:00", "to": "20:00", "days": ["xx"]}}, "invalid_schedule"),
        ({"repeat": "FREQ=DAILY"}, "invalid_schedule"),
    ],
)
def test_a_time_that_cannot_be_is_a_problem_that_names_the_place(audience: httpx.Client, schedule: object, code: str):
    answer = draft(audience, schedule=schedule)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"].startswith("/schedule/")


def test_starting_twice_starts_once(audience: httpx.Client):
    path, token = previewed(audience)
    first = audience.post(f"{path}:start", json={"token": token}, headers=once("t1"))
    repeated = audience.post(f"{path}:start", json={"token": token}, headers=once("t1"))
    assert (repeated.status_code, repeated.json()) == (200, first.json()), "the same request, its answer lost"
    again = audience.post(f"{path}:start", json={"token": token}, headers=once("t2"))
    assert (again.status_code, again.json()["code"]) == (409, "already_started")
    other = audience.post(f"{path}:start", json={"token": "other"}, headers=once("t3"))
    assert (other.status_code, other.json()["code"]) == (409, "state_conflict")


def test_a_stop_of_the_tenant_is_told_to_whoever_starts_and_can_be_read(audience: httpx.Client):
    path, token = previewed(audience)
    assert audience.post("/v1/campaigns:stop_all", json={"reason": "wrong price"}).json()["paused"] == 0
    shown = audience.get("/v1/campaigns:stopped").json()
    assert (shown["stopped"], shown["reason"], shown["everywhere"]) == (True, "wrong price", False)
    refused = audience.post(f"{path}:start", json={"token": token}, headers=once("w1"))
    assert (refused.status_code, refused.json()["code"]) == (409, "stopped")
    assert audience.post("/v1/campaigns:release").json()["stopped"] is False
    assert audience.post(f"{path}:start", json={"token": token}, headers=once("w2")).json()["state"] == "running"


def test_the_operator_stops_every_tenant_at_once(site: Site, audience: httpx.Client):
    path, token = previewed(audience)
    audience.post(f"{path}:start", json={"token": token}, headers=once("o1"))
    assert site.http.post("/v1/campaigns:stop_all").json()["everywhere"]
    try:
        assert audience.get(path).json()["state"] == "paused"
        audience.post("/v1/campaigns:release", json={"resume": True})
        assert audience.post(f"{path}:resume").json()["code"] == "stopped", "a tenant does not lift the operator's stop"
    finally:
        site.http.post("/v1/campaigns:release", json={"resume": True})
    assert audience.get(path).json()["state"] == "running"


def test_a_clone_is_made_and_a_resend_of_what_is_not_over_is_refused(audience: httpx.Client):
    path, token = previewed(audience)
    copy = audience.post(f"{path}:clone", json={"title": "Again"})
    assert (copy.status_code, copy.json()["title"], copy.json()["clone_of"]) == (201, "Again", path.rpartition("/")[2])
    assert audience.post(f"{path}:clone").json()["title"] == "Spring (copy)"
    audience.post(f"{path}:start", json={"token": token}, headers=once("c1"))
    assert audience.post(f"{path}:resend").status_code == 409
    audience.post(f"{path}:cancel")
    assert audience.post(f"{path}:resend").json()["code"] == "no_recipients"


def test_a_test_goes_to_the_listed_phones_with_a_members_own_values(audience: httpx.Client):
    path = f"/v1/campaigns/{draft(audience).json()['id']}"
    body = {"to": ["+4915112345602", "+4915199999999"]}
    assert audience.post(f"{path}:test", json=body).json()["code"] == "idempotency_key_missing"
    sent = audience.post(f"{path}:test", json=body, headers=once("p1")).json()["messages"]
    assert [one["text"] for one in sent] == [
        "Hello Name 2, you have 0 points",
        "Hello {name}, you have {points} points",
    ]
    wrong = {"to": ["+4915112345602", "+4915112345602", "12", "+4915112345604"]}
    refused = audience.post(f"{path}:test", json=wrong, headers=once("p2"))
    assert [error["code"] for error in refused.json()["errors"]] == ["duplicate_number", "wrong_number", "suppressed"]
    assert audience.get(path).json()["state"] == "draft"


def test_options_are_written_edited_and_taken_away(audience: httpx.Client):
    made = draft(audience, options={"flash": True, "valid_until": "2099-01-01T00:00:00Z"})
    assert made.status_code == 422 and made.json()["errors"][0]["pointer"] == "/options/valid_until"
    made = draft(audience, options={"flash": True, "replace_type": 3, "registered_delivery": "none"})
    assert made.json()["options"] == {"class": 0, "replace_type": 3, "registered_delivery": "none"}
    assert made.json()["receipts"] is False
    path = f"/v1/campaigns/{made.json()['id']}"
    assert audience.patch(path, json={"options": {"class": 1}}).json()["options"] == {"class": 1}
    assert audience.patch(path, json={"options": None}).json()["options"] == {}
    assert audience.patch(path, json={"options": {"clas": 1}}).status_code == 422
