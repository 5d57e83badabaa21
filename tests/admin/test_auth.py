"""Keys, rights and tenant separation, over real HTTP."""

from __future__ import annotations

import httpx

from tests.admin.conftest import OPERATOR, Site


def test_a_request_without_a_valid_key_is_401_and_says_how_to_send_one(site: Site):
    for headers in ({}, {"Authorization": "Bearer vk_wrong"}, {"Authorization": "Basic abc"}, {"Authorization": ""}):
        answer = httpx.get(f"{site.url}/v1/members", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["code"] == "key_invalid"


def test_a_key_in_the_query_opens_nothing(site: Site):
    assert httpx.get(f"{site.url}/v1/tenants", params={"key": OPERATOR, "token": OPERATOR}).status_code == 401


def test_a_key_has_only_its_scopes(site: Site):
    reader = site.key(site.tenant(), "members:read")
    assert reader.get("/v1/members").status_code == 200
    answer = reader.post("/v1/members", json={"msisdn": "+4915112345678"})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert answer.json()["scopes"] == ["members:write"]


def test_a_tenant_key_gives_no_right_that_it_lacks(site: Site):
    keeper = site.key(site.tenant(), "tenants:write", "members:read")
    body = {"title": "more", "scopes": ["members:read", "campaigns:send"]}
    answer = keeper.post("/v1/keys", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert keeper.post("/v1/keys", json=body | {"scopes": ["*"]}).status_code == 403
    made = keeper.post("/v1/keys", json=body | {"scopes": ["members:read"]})
    assert made.status_code == 201
    assert site.as_key(made.json()["secret"]).get("/v1/members").status_code == 200


def test_a_secret_is_shown_once_and_kept_nowhere(site: Site):
    secret = site.http.post("/v1/keys", json={"title": "x", "scopes": ["noc:read"]}).json()["secret"]
    assert secret.startswith("vk_")
    shown = site.http.get("/v1/keys").text
    assert secret not in shown
    with site.store.snapshot() as view:
        assert not any(secret.encode() in value for table in view.tables for _, value in view.range(table))


def test_a_revoked_key_opens_nothing_from_then_on(site: Site):
    tenant = site.tenant()
    made = site.http.post("/v1/keys", json={"title": "x", "scopes": ["*"]}, headers={"X-Tenant": tenant}).json()
    client = site.as_key(made["secret"])
    assert client.get("/v1/fields").status_code == 200
    assert site.http.delete(f"/v1/keys/{made['id']}").status_code == 204
    assert client.get("/v1/fields").status_code == 401


def test_an_operator_names_the_tenant_it_acts_for(site: Site):
    tenant = site.tenant()
    missing = site.http.get("/v1/members")
    assert (missing.status_code, missing.json()["code"]) == (400, "tenant_missing")
    assert site.as_key(OPERATOR, tenant).get("/v1/members").status_code == 200
    for other in ("ten_0000000000009", "ten_!", "cmp_0000000000001"):
        assert site.as_key(OPERATOR, other).get("/v1/members").status_code == 404


def test_a_tenant_key_cannot_act_for_another(site: Site):
    mine, other = site.tenant("mine"), site.tenant("other")
    client = site.key(mine)
    assert client.get("/v1/members", headers={"X-Tenant": other}).status_code == 403
    assert client.get("/v1/members", headers={"X-Tenant": mine}).status_code == 200
    assert client.post("/v1/tenants", json={"title": "third"}).status_code == 403
    assert [tenant["id"] for tenant in client.get("/v1/tenants").json()["data"]] == [mine]


def test_another_tenants_objects_are_not_found(site: Site):
    mine, other = site.key(site.tenant("mine")), site.key(site.tenant("other"))
    member = mine.post("/v1/members", json={"msisdn": "+4915112345678"}).json()["id"]
    campaign = mine.post("/v1/campaigns", json={"title": "Spring", "text": "Hello"}).json()["id"]
    once = {"Idempotency-Key": "k"}
    entry = {"member": member, "delta": 5, "source": "till"}
    for answer in (
        other.get(f"/v1/members/{member}"),
        other.patch(f"/v1/members/{member}", json={"values": {}}),
        other.delete(f"/v1/members/{member}"),
        other.get("/v1/members/by-phone/+4915112345678"),
        other.get(f"/v1/members/{member}/points"),
        other.get(f"/v1/points/balances/{member}"),
        other.post("/v1/points/entries", json=entry, headers=once),
        other.get(f"/v1/campaigns/{campaign}"),
        other.get(f"/v1/campaigns/{campaign}/progress"),
        other.get(f"/v1/campaigns/{campaign}/recipients"),
        other.patch(f"/v1/campaigns/{campaign}", json={"title": "x"}),
        other.post(f"/v1/campaigns/{campaign}:preview"),
        other.post(f"/v1/campaigns/{campaign}:start", json={"token": "t"}, headers=once),
        other.post(f"/v1/campaigns/{campaign}:cancel"),
        other.delete(f"/v1/campaigns/{campaign}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.request.url
    assert other.get("/v1/members").json() == {"data": [], "next": None}
    assert mine.get(f"/v1/members/{member}").status_code == 200
