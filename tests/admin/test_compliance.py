"""Lists, consents, markets, prices and credit through the API."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from tests.admin.conftest import OPERATOR, Site

NUMBERS = [f"+3361234560{i}" for i in range(4)]


@pytest.fixture
def audience(shop: httpx.Client) -> httpx.Client:
    for number in NUMBERS:
        assert shop.post("/v1/members", json={"msisdn": number}).status_code == 201
    return shop


@pytest.fixture
def operator(site: Site, shop: httpx.Client) -> httpx.Client:
    """The operator, acting for the shop."""
    return site.as_key(OPERATOR, tenant_of(shop))


def tenant_of(client: httpx.Client) -> str:
    return str(client.get("/v1/tenants").json()["data"][0]["id"])


def draft(client: httpx.Client, **more: object) -> str:
    body = {"title": "Sale", "sender": "Shop", "text": "Hi", **more}
    answer = client.post("/v1/campaigns", json=body)
    assert answer.status_code == 201, answer.text
    return f"/v1/campaigns/{answer.json()['id']}"


def once(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_a_list_of_numbers_and_hashes_is_added_checked_and_taken_back(audience: httpx.Client):
    digest = hashlib.sha256(NUMBERS[1][1:].encode()).hexdigest()
    body = {"numbers": [NUMBERS[0]], "hashes": [digest], "why": "robinson"}
    assert audience.post("/v1/suppressions", json=body).json() == {"added": 2, "already": 0}
    assert audience.get("/v1/suppressions").json()["data"][0]["msisdn"] == NUMBERS[0]
    found = audience.post("/v1/suppressions:check", json={"numbers": NUMBERS[:3]}).json()["data"]
    assert [one["lists"] for one in found] == [["tenant"], ["hash"], []]
    assert audience.post(f"{draft(audience)}:preview").json()["skipped"] == {"suppressed": 2}
    assert audience.delete(f"/v1/suppressions/{NUMBERS[0]}").status_code == 204
    assert audience.delete(f"/v1/suppressions/{NUMBERS[0]}").status_code == 404
    assert audience.delete(f"/v1/suppressions/{NUMBERS[1]}").status_code == 204, "it came as its hash"
    assert audience.post(f"{draft(audience)}:preview").json()["skipped"] == {}
    assert audience.post("/v1/suppressions", json={"hashes": ["z" * 64]}).status_code == 422
    assert audience.post("/v1/suppressions", json={}).status_code == 422


def test_a_signatures_list_is_its_own(audience: httpx.Client):
    body = {"numbers": NUMBERS[:2], "signature": "Corner"}
    assert audience.post("/v1/suppressions", json=body).json()["added"] == 2
    assert audience.get("/v1/suppressions").json()["data"] == []
    first = audience.get("/v1/suppressions", params={"signature": "Corner", "limit": 1}).json()
    rest = audience.get("/v1/suppressions", params={"signature": "Corner", "after": first["next"]}).json()
    assert [row["msisdn"] for row in first["data"] + rest["data"]] == NUMBERS[:2]
    path = draft(audience, signature="Corner")
    assert audience.post(f"{path}:preview").json()["skipped"] == {"suppressed": 2}
    gone = audience.delete(f"/v1/suppressions/{NUMBERS[0]}", params={"signature": "Corner"})
    assert gone.status_code == 204
    assert audience.post(f"{path}:preview").json()["skipped"] == {"suppressed": 1}


def test_consents_are_kept_with_their_evidence(audience: httpx.Client, operator: httpx.Client):
    tenant = tenant_of(audience)
    assert operator.patch(f"/v1/tenants/{tenant}", json={"market_profile": "us"}).status_code == 200
    word = {"number": NUMBERS[0], "purpose": "marketing", "evidence": {"source": "till", "text": "v3"}}
    no = {"number": NUMBERS[1], "purpose": "marketing", "given": False, "evidence": {"source": "call"}}
    answer = audience.post("/v1/consents", json={"consents": [word, no]})
    assert answer.json() == {"given": 1, "withdrawn": 1}
    said = audience.get("/v1/consents", params={"number": NUMBERS[0]}).json()
    assert said["history"][0]["evidence"] == {
        "source": "till",
        "text": "v3",
        "by": said["history"][0]["evidence"]["by"],
    }
    assert said["now"]["marketing"]["consented_at"]
    seen = audience.post(f"{draft(audience)}:preview").json()
    assert (seen["will_send"], seen["skipped"]) == (1, {"opted_out": 1, "no_consent": 2})
    counted = audience.post("/v1/segments:count", json={"expr": "everyone"}).json()
    assert (counted["reachable"], counted["waterfall"]["no_consent"]) == (1, 2)
    assert audience.post("/v1/consents", json={"consents": [{**word, "evidence": {"source": ""}}]}).status_code == 422
    ahead = {"source": "till", "at": "2040-01-01T00:00:00Z"}
    problem = audience.post("/v1/consents", json={"consents": [{**word, "evidence": ahead}]}).json()
    assert problem["errors"][0]["pointer"] == "/consents/0/evidence/at", "as the body has it"
    assert audience.get("/v1/consents", params={"number": "12"}).status_code == 422
    assert operator.patch(f"/v1/tenants/{tenant}", json={"market_profile": "none"}).status_code == 200


def test_markets_can_be_read_and_one_that_is_not_there_is_refused(shop: httpx.Client, operator: httpx.Client):
    names = [one["name"] for one in shop.get("/v1/profiles").json()["data"]]
    assert names == ["none", "cn", "fr", "us"]
    assert shop.get("/v1/profiles/fr").json()["quiet"]["holidays"] == "FR"
    assert shop.get("/v1/profiles/xx").status_code == 404
    refused = operator.patch(f"/v1/tenants/{tenant_of(shop)}", json={"market_profile": "xx"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/market_profile")


def test_only_the_operator_registers_signatures_prices_and_credit(shop: httpx.Client, operator: httpx.Client):
    assert operator.post("/v1/signatures", json={"text": "Corner"}).json() == {"text": "Corner", "state": "registered"}
    assert shop.get("/v1/signatures").json()["data"] == [{"text": "Corner", "state": "registered"}]
    assert shop.post("/v1/signatures", json={"text": "Bank"}).status_code == 403
    assert shop.post("/v1/prices", json={"prices": {"": 1}}).status_code == 403
    assert shop.post("/v1/ledger", json={"micros": 5}, headers=once("a")).status_code == 403
    assert operator.post("/v1/prices", json={"prices": {"": 70, "33": 60}}).status_code == 200
    assert shop.get("/v1/prices").json()["own"] == {"": 70, "33": 60}
    assert operator.post("/v1/prices", json={"prices": {"abc": 1}}).status_code == 422
    operator.post("/v1/prices", json={"prices": {"": None, "33": None}})


def test_a_start_without_credit_is_refused_and_one_with_it_reserves(audience: httpx.Client, operator: httpx.Client):
    tenant = tenant_of(audience)
    assert operator.patch(f"/v1/tenants/{tenant}", json={"prepaid": True, "currency": "EUR"}).status_code == 200
    assert operator.post("/v1/prices", json={"prices": {"": 50}}).status_code == 200
    path = draft(audience)
    token = audience.post(f"{path}:preview").json()["token"]
    refused = audience.post(f"{path}:start", json={"token": token}, headers=once("s1"))
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_credit")
    assert refused.json()["needed_micros"] == 200
    assert operator.post("/v1/ledger", json={"micros": 500, "reason": "invoice"}, headers=once("t1")).status_code == 201
    again = operator.post("/v1/ledger", json={"micros": 500, "reason": "invoice"}, headers=once("t1"))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert audience.post(f"{path}:start", json={"token": token}, headers=once("s2")).status_code == 200
    ledger = audience.get("/v1/ledger").json()
    assert (ledger["data"][0]["balance"], ledger["data"][0]["reserved"]) == (300, 200)
    assert [entry["kind"] for entry in ledger["data"]] == ["reserve", "top_up"]
    quotas = audience.get("/v1/quotas").json()
    assert (quotas["parts_used"], quotas["balance_micros"]) == (4, 300)
    usage = audience.get("/v1/usage").json()
    assert (usage["billed"], usage["settled"]) == (4, False)
    assert audience.get("/v1/usage", params={"month": "2026-13"}).status_code == 422
    assert audience.get("/v1/usage", params={"month": "2020-01"}).json()["messages"] == 0
    page = audience.get("/v1/ledger", params={"limit": 1}).json()
    assert audience.get("/v1/ledger", params={"limit": 1, "after": page["next"]}).json()["data"][0]["kind"] == "top_up"


def test_guards_of_a_campaign_are_written_and_shown(audience: httpx.Client):
    path = draft(audience, budget_micros=1_000, caps=[{"max": 2, "within_s": 604_800}], rate=50, signature="Shop")
    shown = audience.get(path).json()
    assert (shown["budget_micros"], shown["rate"], shown["signature"]) == (1_000, 50, "Shop")
    assert shown["caps"] == [{"max": 2, "within_s": 604_800}]
    assert audience.patch(path, json={"budget_micros": None}).json()["budget_micros"] is None
    assert audience.post("/v1/campaigns", json={"title": "x", "caps": [{"max": 2}]}).status_code == 422
    seen = audience.post(f"{path}:preview").json()
    assert seen["eta"]["limit"] == "campaign_rate"
