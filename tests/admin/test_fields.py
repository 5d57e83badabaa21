"""Fields over HTTP: defined, changed in use, retired, restored, and what they hold."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.admin.conftest import Site


@pytest.fixture
def shop(site: Site) -> httpx.Client:
    """Three members: tier gold, gold, silver; ages 20, 31, 42."""
    client = site.key(site.tenant(), "*")
    tier = {"name": "tier", "kind": "dict", "values": ["gold", "silver"], "closed": True}
    assert client.post("/v1/fields", json=tier).status_code == 201
    assert client.post("/v1/fields", json={"name": "age", "kind": "int", "bits": 32}).status_code == 201
    for i, word in enumerate(("gold", "gold", "silver")):
        body = {"msisdn": f"+491511234560{i}", "values": {"tier": word, "age": 20 + 11 * i}}
        assert client.post("/v1/members", json=body).status_code == 201
    return client


def test_a_field_is_read_by_name_and_by_id(shop: httpx.Client):
    by_name = shop.get("/v1/fields/tier").json()
    assert shop.get(f"/v1/fields/{by_name['id']}").json() == by_name
    assert (by_name["values"], by_name["bits"], by_name["retired"]) == (["gold", "silver"], 8, False)
    missing = shop.get("/v1/fields/teir")
    assert (missing.status_code, missing.json()["did_you_mean"]) == (404, "tier")


def test_a_patch_changes_what_it_names(shop: httpx.Client):
    changed = shop.patch("/v1/fields/tier", json={"label": "Tier", "closed": False, "max_values": 1_000}).json()
    assert (changed["label"], changed["closed"], changed["bits"], changed["pii"]) == ("Tier", False, 16, False)
    renamed = shop.patch("/v1/fields/tier", json={"name": "level", "rename_values": {"gold": "golden"}}).json()
    assert (renamed["name"], renamed["values"], renamed["aliases"]) == ("level", ["golden", "silver"], ["tier"])
    member = shop.get("/v1/members/by-phone/+4915112345600").json()
    assert member["values"] == {"level": "golden", "age": 20}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "Not Good"}, "/name"),
        ({"max_values": 1}, "/max_values"),
        ({"add_values": [" x"]}, "/add_values"),
        ({"rename_values": {"iron": "steel"}}, "/rename_values"),
        ({"source_rank": ["Api"]}, "/source_rank"),
    ],
)
def test_a_wrong_change_is_pointed_at(shop: httpx.Client, body: dict[str, Any], pointer: str):
    answer = shop.patch("/v1/fields/tier", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert shop.patch("/v1/fields/tier", json={"colour": "red"}).status_code == 422
    assert shop.patch("/v1/fields/tier", json={"label": None}).status_code == 422


def test_a_field_in_use_is_409_with_its_users_then_retired_and_restored(shop: httpx.Client):
    assert shop.post("/v1/segments", json={"title": "Golden", "expr": 'tier = "gold"'}).status_code == 201
    refused = shop.delete("/v1/fields/tier")
    assert (refused.status_code, refused.json()["code"]) == (409, "field_in_use")
    assert "Golden" in refused.json()["used_by"][0]
    retired = shop.delete("/v1/fields/age").json()
    assert retired["retired"] and "age" not in [f["name"] for f in shop.get("/v1/fields").json()["data"]]
    (listed,) = shop.get("/v1/fields", params={"retired": True}).json()["data"]
    assert listed["id"] == retired["id"] and shop.get(f"/v1/fields/{retired['id']}").json() == listed
    assert shop.delete("/v1/fields/age").status_code == 404
    assert shop.post("/v1/fields", json={"name": "age", "kind": "text"}).status_code == 201
    assert shop.post(f"/v1/fields/{retired['id']}:restore").status_code == 409
    restored = shop.post(f"/v1/fields/{retired['id']}:restore", json={"name": "years"}).json()
    assert (restored["name"], restored["retired"]) == ("years", False)
    assert shop.get("/v1/members/by-phone/+4915112345602").json()["values"]["years"] == 42


def test_stats_tell_what_a_field_holds(shop: httpx.Client):
    tier = shop.get("/v1/fields/tier/stats").json()
    assert [(part["value"], part["count"]) for part in tier["top"]] == [("gold", 2), ("silver", 1)]
    age = shop.get("/v1/fields/age/stats", params={"bins": 4}).json()
    assert (age["members"], age["known"], age["unknown"], age["distinct"]) == (3, 3, 0, 3)
    assert (age["min"], age["max"], age["as_of"][:2]) == (20, 42, "20")
    assert age["histogram"] == [
        {"from": 20, "to": 30, "count": 1},
        {"from": 30, "to": 40, "count": 1},
        {"from": 40, "to": 50, "count": 1},
    ]
    assert shop.get("/v1/fields/points/stats").json()["max"] == 0
    assert shop.get("/v1/fields/nothing/stats").status_code == 404
    assert shop.get("/v1/fields/age/stats", params={"bins": 0}).status_code == 422


def test_whoever_may_only_read_changes_nothing(site: Site):
    reader = site.key(site.tenant(), "members:read")
    assert reader.get("/v1/fields").status_code == 200
    for answer in (
        reader.patch("/v1/fields/tier", json={"label": "x"}),
        reader.delete("/v1/fields/tier"),
        reader.post("/v1/fields/tier:restore"),
    ):
        assert answer.status_code == 403


def test_another_tenants_field_is_not_there(site: Site, shop: httpx.Client):
    other = site.key(site.tenant(), "*")
    assert other.get("/v1/fields/tier").status_code == 404
    assert other.patch("/v1/fields/tier", json={"label": "x"}).status_code == 404
    assert other.get("/v1/fields/tier/stats").status_code == 404
