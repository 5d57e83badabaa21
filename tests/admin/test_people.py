"""Merges, tags, bulk edits, timelines, subject exports and exports through the API."""

from __future__ import annotations

import csv
import io
import json

import httpx
import pytest

from dispatcher.store.values import unpack
from tests.admin.conftest import Site


@pytest.fixture
def people(shop: httpx.Client) -> httpx.Client:
    """The shop with a pii field, tags, and four members."""
    for field in (
        {"name": "name", "kind": "text", "pii": True},
        {"name": "age", "kind": "int"},
        {"name": "tags", "kind": "tags"},
    ):
        assert shop.post("/v1/fields", json=field).status_code == 201
    for i in range(4):
        values = {"name": f"=M{i}", "age": 20 + i, "tags": ["old"] if i < 2 else []}
        assert shop.post("/v1/members", json={"msisdn": f"+49151123456{i:02}", "values": values}).status_code == 201
    return shop


def ids(shop: httpx.Client) -> list[str]:
    return [member["id"] for member in shop.get("/v1/members").json()["data"]]


def audit(site: Site) -> list[dict[str, str]]:
    with site.store.snapshot() as view:
        return [unpack(row) for _, row in view.range("audit")]


def test_tags_are_put_on_and_taken_off(people: httpx.Client):
    member = ids(people)[0]
    answer = people.post(f"/v1/members/{member}/tags", json={"add": ["new"], "remove": ["old"]})
    assert (answer.status_code, answer.json()["values"]["tags"]) == (200, ["new"])
    assert people.post(f"/v1/members/{member}/tags", json={}).status_code == 422


def test_a_merged_member_leads_to_the_one_who_took_over(people: httpx.Client):
    winner, loser, *_ = ids(people)
    body = {"winner": winner, "loser": loser, "reason": "one person", "dry_run": True}
    told = people.post("/v1/members:merge", json=body).json()
    assert [conflict["field"] for conflict in told["conflicts"]] == ["name", "age"]
    assert people.get(f"/v1/members/{loser}").status_code == 200
    assert people.post("/v1/members:merge", json={**body, "dry_run": False}).status_code == 200
    for rest in ("", "/timeline", "/export"):
        answer = people.get(f"/v1/members/{loser}{rest}")
        assert (answer.status_code, answer.headers["Location"]) == (308, f"/v1/members/{winner}{rest}")
        assert answer.json() == {"id": loser, "merged_into": winner}
    assert people.get("/v1/members/by-phone/+4915112345601").json()["id"] == winner
    again = people.post("/v1/members:merge", json={**body, "dry_run": False})
    assert (again.status_code, again.json()["merged_into"]) == (409, winner)


def test_a_merge_is_taken_back(people: httpx.Client):
    winner, loser, *_ = ids(people)
    before = [people.get(f"/v1/members/{member}").json() for member in (winner, loser)]
    assert people.post(f"/v1/members/{loser}:unmerge", json={}).json()["code"] == "state_conflict"
    assert people.post("/v1/members:merge", json={"winner": winner, "loser": loser, "take": ["age"]}).status_code == 200
    said = people.post(f"/v1/members/{loser}:unmerge", json={"dry_run": True}).json()
    assert (said["restored"], said["changed_since"], said["dry_run"]) == (["age"], [], True)
    assert people.post(f"/v1/members/{loser}:unmerge", json={"reason": "two people"}).status_code == 200
    assert [people.get(f"/v1/members/{member}").json() for member in (winner, loser)] == before


def test_a_bulk_edit_is_a_job_that_can_be_looked_at(people: httpx.Client):
    body = {"expr": "age >= 22", "set": {"age": 99}, "tags_add": ["grown"]}
    told = people.post("/v1/members:bulk", json={**body, "dry_run": True})
    assert (told.status_code, told.json()) == (200, {"dry_run": True, "matched": 2, "would_change": 2})
    answer = people.post("/v1/members:bulk", json=body)
    assert (answer.status_code, answer.json()["matched"]) == (202, 2)
    row = people.get(f"/v1/imports/{answer.json()['id']}").json()
    assert (row["state"], row["members_changed"]) == ("done", 2)
    values = [member["values"] for member in people.get("/v1/members").json()["data"]]
    assert [(v["age"], v["tags"]) for v in values] == [(20, ["old"]), (21, ["old"]), (99, ["grown"]), (99, ["grown"])]


def test_a_wrong_bulk_edit_names_what_is_wrong(people: httpx.Client):
    wrong = people.post("/v1/members:bulk", json={"expr": "age >= 22", "set": {"agee": 1}}).json()
    assert (wrong["code"], wrong["errors"][0]["pointer"]) == ("unknown_field", "/set/agee")
    assert people.post("/v1/members:bulk", json={"expr": "age >", "set": {"age": 1}}).status_code == 422


def test_an_erased_member_is_gone_with_a_reason_in_the_audit(people: httpx.Client, site: Site):
    member = ids(people)[3]
    assert people.delete(f"/v1/members/{member}", params={"reason": "asked by letter"}).status_code == 204
    assert people.get(f"/v1/members/{member}").status_code == 404
    assert audit(site)[-1]["reason"] == "asked by letter"
    assert all(row.get("kind") != "erase" for row in people.get("/v1/imports").json()["data"])
    again = people.post("/v1/members", json={"msisdn": "+4915112345603"})
    assert (again.status_code, again.json()["suppressed"]) == (201, True)


def test_a_timeline_is_paged_to_its_end(people: httpx.Client):
    member = ids(people)[0]
    for n in range(5):
        body = {"member": member, "delta": 10, "source": "till"}
        assert (
            people.post("/v1/points/entries", json=body, headers={"Idempotency-Key": f"{member}{n}"}).status_code == 201
        )
    seen, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        answer = people.get(f"/v1/members/{member}/timeline", params=params).json()
        seen += answer["data"]
        after = answer["next"]
        if after is None:
            break
    assert [event["balance"] for event in seen if event["kind"] == "points"] == [50, 40, 30, 20, 10]
    assert len({event["id"] for event in seen}) == 5


def test_a_subject_export_has_what_is_held(people: httpx.Client):
    member = ids(people)[0]
    held = people.get(f"/v1/members/{member}/export").json()
    assert held["member"]["id"] == member and held["complete"]
    assert {value["field"]: value["value"] for value in held["values"]} == {"name": "=M0", "age": 20, "tags": ["old"]}
    assert held["numbers"] == [{"msisdn": "+4915112345600", "opted_out": [], "suppressed": False}]


def test_an_export_with_pii_needs_a_reason_and_leaves_a_line_in_the_audit(people: httpx.Client, site: Site):
    refused = people.post("/v1/exports", json={"expr": "age < 22"})
    assert (refused.status_code, refused.json()["code"]) == (422, "reason_missing")
    answer = people.post(
        "/v1/exports", json={"expr": "age < 22", "reason": "printer", "fields": ["phone", "name", "age"]}
    )
    assert answer.headers["Content-Type"].startswith("text/csv") and answer.headers["Volley-Members"] == "2"
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows == [["phone", "name", "age"], ["+4915112345600", "'=M0", "20"], ["+4915112345601", "'=M1", "21"]]
    assert audit(site)[-1]["reason"] == "printer [csv: phone, name, age; age < 22]"


def test_a_key_without_the_right_gets_them_masked_and_gives_no_reason(site: Site):
    tenant = site.tenant()
    whole, some = site.key(tenant, "*"), site.key(tenant, "members:read")
    whole.post("/v1/members", json={"msisdn": "+4915112345678"})
    answer = some.post("/v1/exports", json={"format": "ndjson", "fields": ["phone"]})
    assert json.loads(answer.text) == {"phone": "+4915*******78"}
    assert some.post("/v1/exports", json={"fields": ["nope"]}).status_code == 422
    asked = whole.post("/v1/exports", json={"format": "ndjson", "fields": ["phone"], "masked": True})
    assert json.loads(asked.text) == {"phone": "+4915*******78"}
