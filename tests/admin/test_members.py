"""Fields, members, suppressions, points and segments through the API."""

from __future__ import annotations

import httpx
import pytest

from tests.admin.conftest import OPERATOR, Site


@pytest.fixture
def gold(shop: httpx.Client) -> httpx.Client:
    """The shop with a field and three members."""
    assert shop.post("/v1/fields", json={"name": "tier", "kind": "dict", "values": ["gold"]}).status_code == 201
    assert shop.post("/v1/fields", json={"name": "age", "kind": "int"}).status_code == 201
    for i, tier in enumerate(["gold", None, "silver"]):
        body = {"msisdn": f"+49151123456{i:02}", "values": {"tier": tier, "age": 20 + i}}
        assert shop.post("/v1/members", json=body).status_code == 201
    return shop


def test_fields_are_listed_with_those_every_tenant_has(gold: httpx.Client):
    fields = {field["name"]: field for field in gold.get("/v1/fields").json()["data"]}
    assert list(fields) == ["phone", "points", "tier", "age"]
    assert fields["tier"]["values"] == ["gold", "silver"]


def test_a_wrong_field_is_pointed_at_by_the_apis_own_words(shop: httpx.Client):
    answer = shop.post("/v1/fields", json={"name": "Not Good", "kind": "int"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name")


def test_a_member_is_made_found_changed_and_erased(gold: httpx.Client):
    member = gold.get("/v1/members/by-phone/+4915112345601").json()
    assert member["values"] == {"tier": None, "age": 21}
    changed = gold.patch(f"/v1/members/{member['id']}", json={"values": {"tier": "gold", "age": None}}).json()
    assert changed["values"] == {"tier": "gold", "age": None}
    assert gold.get(f"/v1/members/{member['id']}").json() == changed
    assert gold.delete(f"/v1/members/{member['id']}").status_code == 204
    assert gold.get(f"/v1/members/{member['id']}").status_code == 404
    assert gold.get("/v1/members/by-phone/+4915112345601").status_code == 404


def test_a_taken_number_is_409_and_an_upsert_updates(gold: httpx.Client):
    body = {"msisdn": "+4915112345600", "values": {"age": 50}}
    assert gold.post("/v1/members", json=body).status_code == 409
    answer = gold.post("/v1/members:upsert", json=body)
    assert (answer.status_code, answer.json()["values"]["age"]) == (200, 50)
    assert gold.post("/v1/members:upsert", json={"msisdn": "+4915112345699"}).status_code == 201


def test_pages_follow_their_cursor_to_the_end(gold: httpx.Client):
    seen, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        answer = gold.get("/v1/members", params=params).json()
        seen += [member["msisdn"] for member in answer["data"]]
        after = answer["next"]
        if after is None:
            break
    assert seen == ["+4915112345600", "+4915112345601", "+4915112345602"]
    assert gold.get("/v1/members", params={"after": "x"}).json()["code"] == "cursor_invalid"
    assert gold.get("/v1/members", params={"limit": 0}).status_code == 422
    assert gold.get("/v1/members", params={"limit": 1001}).status_code == 422


def test_a_number_is_suppressed_listed_and_let_go(site: Site, gold: httpx.Client):
    assert gold.post("/v1/suppressions", json={"numbers": ["+4915112345600"], "why": "asked"}).json()["added"] == 1
    assert gold.get("/v1/suppressions").json()["data"][0] | {"at": ""} == {
        "msisdn": "+4915112345600", "at": "", "why": "asked",
    }  # fmt: skip
    assert gold.get("/v1/members/by-phone/+4915112345600").json()["suppressed"] is True
    assert site.http.get("/v1/suppressions").json()["data"] == []  # the operator's own list
    assert gold.delete("/v1/suppressions/+4915112345600").status_code == 204
    assert gold.delete("/v1/suppressions/+4915112345600").status_code == 404


def test_a_count_has_its_waterfall_and_a_wrong_word_its_place(gold: httpx.Client):
    gold.post("/v1/suppressions", json={"numbers": ["+4915112345600"]})
    answer = gold.post("/v1/segments:count", json={"expr": 'tier = "gold" or age > 20'}).json()
    assert (answer["matched"], answer["reachable"], answer["waterfall"]["suppressed"]) == (3, 2, 1)
    wrong = gold.post("/v1/segments:count", json={"expr": "tier == 1"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "segment_syntax")
    assert {"position", "expected", "did_you_mean"} <= wrong.json().keys()
    assert gold.post("/v1/segments:count", json={"expr": "tear is known"}).json()["did_you_mean"] == "tier"
    assert gold.post("/v1/segments:count", json={"expr": "(" * 9_999}).status_code == 422


def test_a_segment_is_kept_canonically_and_replaced(gold: httpx.Client):
    first = gold.post("/v1/segments", json={"title": "Golden", "expr": 'tier  =  "gold"'})
    assert (first.status_code, first.json()["expr"]) == (201, 'tier = "gold"')
    assert gold.post("/v1/segments", json={"title": "Golden", "expr": "age > 20"}).status_code == 200
    (segment,) = gold.get("/v1/segments").json()["data"]
    assert (segment["expr"], segment["version"]) == ("age > 20", 2)


def test_points_move_by_entries_and_never_below_zero(gold: httpx.Client):
    member = gold.get("/v1/members/by-phone/+4915112345600").json()["id"]

    def move(delta: int, key: str, **more: str) -> httpx.Response:
        body = {"member": member, "delta": delta, "source": "till", **more}
        return gold.post("/v1/points/entries", json=body, headers={"Idempotency-Key": key})

    assert move(100, "a").json()["balance"] == 100
    assert move(-30, "b", reason="a coffee").json()["balance"] == 70
    refused = move(-71, "c")
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_points")
    assert gold.get(f"/v1/points/balances/{member}").json() == {"member": member, "balance": 70}
    statement = gold.get(f"/v1/members/{member}/points", params={"limit": 1}).json()
    assert [entry["delta"] for entry in statement["data"]] == [-30]
    older = gold.get(f"/v1/members/{member}/points", params={"after": statement["next"]}).json()
    assert ([entry["delta"] for entry in older["data"]], older["next"]) == ([100], None)
    assert gold.get(f"/v1/members/{member}").json()["points"] == 70


def test_the_same_event_moves_points_once_under_whatever_idempotency_key(gold: httpx.Client):
    member = gold.get("/v1/members/by-phone/+4915112345600").json()["id"]
    body = {"member": member, "delta": 10, "source": "till", "key": "receipt-4711"}
    first = gold.post("/v1/points/entries", json=body, headers={"Idempotency-Key": "one"})
    again = gold.post("/v1/points/entries", json=body, headers={"Idempotency-Key": "two"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert gold.get(f"/v1/points/balances/{member}").json()["balance"] == 10


def test_an_operator_suppresses_for_every_tenant(site: Site, gold: httpx.Client):
    assert site.as_key(OPERATOR).post("/v1/suppressions", json={"numbers": ["+4915112345602"]}).status_code == 200
    assert gold.get("/v1/members/by-phone/+4915112345602").json()["suppressed"] is True
