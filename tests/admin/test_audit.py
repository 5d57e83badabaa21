"""The audit through the API: the operator's is whole, a tenant's its own."""

from __future__ import annotations

import httpx

from tests.admin.conftest import Site


def test_an_edit_is_told_to_its_tenant_with_who_why_and_what(site: Site, shop: httpx.Client):
    made = shop.post("/v1/campaigns", json={"title": "Spring", "text": "Hello"}).json()
    answer = shop.patch(f"/v1/campaigns/{made['id']}", json={"title": "Summer"})
    assert answer.status_code == 200, answer.text
    page = shop.get("/v1/audit").json()
    last = page["data"][0]
    assert (last["command"], last["object"], last["actor"][:4]) == ("campaign.edit", made["id"], "key_")
    assert last["edits"] == [{"object": made["id"], "before": {"title": "Spring"}, "after": {"title": "Summer"}}]
    assert len(bytes.fromhex(last["seal"])) == 32
    assert last["who"] == next(
        key["title"] for key in shop.get("/v1/keys").json()["data"] if key["id"] == last["actor"]
    )


def test_a_tenant_sees_nothing_of_others_and_the_operator_sees_all(site: Site, shop: httpx.Client):
    other = site.key(site.tenant("Other"), "*")
    shop.post("/v1/campaigns", json={"title": "Ours", "text": "Hello"})
    other.post("/v1/campaigns", json={"title": "Theirs", "text": "Hello"})
    mine = [entry["tenant"] for entry in shop.get("/v1/audit").json()["data"]]
    theirs = [entry["tenant"] for entry in other.get("/v1/audit").json()["data"]]
    assert len(set(mine)) == len(set(theirs)) == 1 and set(mine) != set(theirs)
    everyone = site.http.get("/v1/audit", params={"limit": 1_000}).json()["data"]
    assert {None, *mine, *theirs} <= {entry["tenant"] for entry in everyone}
    assert [entry["seq"] for entry in everyone] == list(range(len(everyone), 0, -1))
    as_tenant = site.http.get("/v1/audit", headers={"X-Tenant": mine[0]}).json()["data"]
    assert {entry["tenant"] for entry in as_tenant} == {mine[0]}


def test_pages_follow_each_other_and_commands_are_chosen_by_their_beginning(site: Site, shop: httpx.Client):
    for number in range(3):
        shop.post("/v1/campaigns", json={"title": f"No {number}", "text": "Hello"})
    seen: list[int] = []
    after = None
    while True:
        params = {"limit": 1, "command": "campaign."} | ({"after": after} if after else {})
        page = shop.get("/v1/audit", params=params).json()
        seen += [entry["seq"] for entry in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == 3 and seen == sorted(seen, reverse=True)


def test_reading_the_audit_is_a_right_of_its_own(site: Site):
    tenant = site.tenant()
    assert site.key(tenant, "members:read").get("/v1/audit").status_code == 403
    assert site.key(tenant, "audit:read").get("/v1/audit").status_code == 200
    assert httpx.get(f"{site.url}/v1/audit").status_code == 401
    assert site.http.get("/v1/audit", params={"after": "nonsense"}).status_code == 400
