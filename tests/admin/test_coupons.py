"""Pools, codes and tills through the API: who may do what, each refusal's code, repeats, the log, the count of misses."""

from __future__ import annotations

import httpx
import pytest

from admin.misses import MISSES_MAX, WITHIN_MS, Misses
from dispatcher.errors import CommandRefused
from tests.admin.conftest import Site

POOL = {"name": "Spring", "value": "a slice of cake", "stock": 3, "valid_until": "2100-01-01T00:00:00+01:00"}


@pytest.fixture
def tenant(site: Site) -> str:
    return site.tenant()


@pytest.fixture
def shop(site: Site, tenant: str) -> httpx.Client:
    """The tenant's own key with every right, and four members."""
    shop = site.key(tenant)
    for i in range(4):
        assert shop.post("/v1/members", json={"msisdn": f"+49151123456{i:02}"}).status_code == 201
    return shop


@pytest.fixture
def pool(shop: httpx.Client) -> str:
    made = shop.post("/v1/coupon_pools", json=POOL)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


@pytest.fixture
def codes(shop: httpx.Client, pool: str) -> list[str]:
    members = [member["id"] for member in shop.get("/v1/members").json()["data"]]
    issued = [shop.post("/v1/coupons:issue", json={"pool": pool, "member": member}) for member in members]
    assert {answer.status_code for answer in issued} == {200}
    return [answer.json()["code"] for answer in issued]


def redeem(till: httpx.Client, code: str, key: str, **more: object) -> httpx.Response:
    return till.post("/v1/coupons:redeem", json={"code": code, **more}, headers={"Idempotency-Key": key})


def test_a_pool_is_made_shown_edited_and_turned(shop: httpx.Client, pool: str):
    shown = shop.get(f"/v1/coupon_pools/{pool}")
    assert (shown.json()["left"], shown.json()["valid_until"]) == (3, "2099-12-31T23:00:00.000Z")
    assert "key" not in shown.json()
    edited = shop.patch(f"/v1/coupon_pools/{pool}", json={"stock": None}, headers={"If-Match": shown.headers["ETag"]})
    assert (edited.status_code, edited.json()["left"], edited.json()["name"]) == (200, None, "Spring")
    late = shop.patch(f"/v1/coupon_pools/{pool}", json={"stock": 1}, headers={"If-Match": shown.headers["ETag"]})
    assert (late.status_code, late.json()["code"]) == (412, "version_changed")
    wrong = shop.patch(f"/v1/coupon_pools/{pool}", json={"valid_from": "2101-01-01T00:00:00Z"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/valid_until")
    assert shop.post(f"/v1/coupon_pools/{pool}:close", json={"reason": "over"}).json()["state"] == "closed"
    assert shop.post(f"/v1/coupon_pools/{pool}:open", json={}).json()["state"] == "open"
    assert shop.post("/v1/coupon_pools", json=POOL).json()["code"] == "duplicate_name"


def test_pools_are_listed_in_pages(shop: httpx.Client, pool: str):
    more = [shop.post("/v1/coupon_pools", json={"name": str(i), "value": "x"}).json()["id"] for i in range(3)]
    first = shop.get("/v1/coupon_pools", params={"limit": 2}).json()
    rest = shop.get("/v1/coupon_pools", params={"limit": 2, "after": first["next"]}).json()
    assert [row["id"] for row in first["data"] + rest["data"]] == [*reversed(more), pool]
    assert rest["next"] is None


def test_a_till_redeems_and_may_do_nothing_else(site: Site, tenant: str, shop: httpx.Client, codes: list[str]):
    till = site.key(tenant, "coupons:redeem")
    done = redeem(till, f" {codes[0].lower()} ", "r1", shop="Mitte", reference="1032", amount_micros=5)
    assert (done.status_code, done.json()["state"], done.json()["value"]) == (201, "redeemed", "a slice of cake")
    answers = [
        till.get("/v1/coupon_pools"),
        till.get("/v1/coupons"),
        till.get(f"/v1/coupons/{codes[0]}"),
        till.post("/v1/coupons:void", json={"code": codes[1], "reason": "x"}),
        till.post("/v1/coupons:undo", json={"code": codes[0], "reason": "x"}),
        till.post("/v1/coupons:issue", json={"pool": done.json()["pool"], "member": done.json()["member"]}),
        till.get("/v1/members"),
        till.get("/v1/campaigns"),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "scope_missing")}
    assert redeem(site.key(tenant, "coupons:write"), codes[1], "r2").json()["code"] == "scope_missing"


def test_each_refusal_has_its_code(shop: httpx.Client, pool: str, codes: list[str]):
    assert redeem(shop, codes[0], "a", shop="Mitte").status_code == 201
    again = redeem(shop, codes[0], "b")
    assert (again.status_code, again.json()["code"], again.json()["shop"]) == (409, "coupon_redeemed", "Mitte")
    assert again.json()["at"].endswith("Z")
    assert shop.post("/v1/coupons:void", json={"code": codes[1], "reason": "lost"}).json()["state"] == "void"
    assert redeem(shop, codes[1], "c").json()["code"] == "coupon_void"
    unknown = redeem(shop, "000000000000", "d")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "coupon_unknown")
    assert shop.post("/v1/coupons:redeem", json={"code": codes[2]}).json()["code"] == "idempotency_key_missing"
    shop.patch(f"/v1/coupon_pools/{pool}", json={"stock": 1})
    assert redeem(shop, codes[2], "e").json()["code"] == "out_of_stock"
    shop.post(f"/v1/coupon_pools/{pool}:close", json={})
    assert redeem(shop, codes[2], "f").json()["code"] == "coupon_pool_closed"
    assert shop.post("/v1/coupons:undo", json={"code": codes[2], "reason": "x"}).json()["code"] == "state_conflict"
    assert shop.post("/v1/coupons:undo", json={"code": codes[0]}).status_code == 422


def test_the_same_key_again_is_the_same_answer_for_ever(site: Site, shop: httpx.Client, codes: list[str]):
    first = redeem(shop, codes[0], "r1")
    within = redeem(shop, codes[0], "r1")
    assert (within.status_code, within.json()) == (201, first.json())
    assert within.headers["Idempotent-Replayed"] == "true"
    site.clock.advance(73 * 3_600)  # by then the request is forgotten, and the redeeming is not
    later = redeem(shop, codes[0], "r1")
    assert (later.status_code, later.json()) == (200, {**first.json(), "repeated": True})
    assert redeem(shop, codes[1], "r1").json()["code"] == "idempotency_conflict"


def test_a_code_is_shown_and_the_log_read_by_what_is_asked(shop: httpx.Client, pool: str, codes: list[str]):
    assert shop.get(f"/v1/coupons/{codes[0]}").json()["state"] == "unused"
    for number, code in enumerate(codes[:3]):
        redeem(shop, code, f"r{number}", shop=("Mitte", "Nord")[number % 2])
    shop.post("/v1/coupons:undo", json={"code": codes[0], "reason": "bought nothing"})
    shown = shop.get(f"/v1/coupons/{codes[1]}").json()
    assert (shown["state"], shown["refusal"], shown["redemption"]["shop"]) == ("redeemed", "coupon_redeemed", "Nord")
    rows = shop.get("/v1/coupons").json()["data"]
    assert [(row["code"], row["state"]) for row in rows] == [
        (codes[2], "redeemed"), (codes[1], "redeemed"), (codes[0], "undone"),
    ]  # fmt: skip
    assert rows[2]["undone"]["reason"] == "bought nothing"
    assert [row["code"] for row in shop.get("/v1/coupons", params={"shop": "Mitte"}).json()["data"]] == codes[2::-2]
    assert len(shop.get("/v1/coupons", params={"pool": pool, "state": "redeemed"}).json()["data"]) == 2
    first = shop.get("/v1/coupons", params={"limit": 2}).json()
    rest = shop.get("/v1/coupons", params={"limit": 2, "after": first["next"]}).json()
    assert [row["id"] for row in first["data"] + rest["data"]] == [row["id"] for row in rows]


def test_another_tenant_finds_nothing_of_it(site: Site, shop: httpx.Client, pool: str, codes: list[str]):
    redeem(shop, codes[0], "r1")
    other = site.key(site.tenant("Other"))
    assert other.get(f"/v1/coupon_pools/{pool}").status_code == 404
    assert other.patch(f"/v1/coupon_pools/{pool}", json={"value": "mine"}).status_code == 404
    assert other.post(f"/v1/coupon_pools/{pool}:close", json={}).status_code == 404
    assert other.get("/v1/coupon_pools").json()["data"] == other.get("/v1/coupons").json()["data"] == []
    for answer in (
        other.get(f"/v1/coupons/{codes[0]}"),
        redeem(other, codes[1], "r1"),
        other.post("/v1/coupons:void", json={"code": codes[1], "reason": "x"}),
        other.post("/v1/coupons:undo", json={"code": codes[0], "reason": "x"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "coupon_unknown")
    member = shop.get("/v1/members").json()["data"][3]["id"]
    assert other.post("/v1/coupons:issue", json={"pool": pool, "member": member}).status_code == 404


def test_who_redeemed_issued_and_took_back_is_in_the_audit_without_code_or_key(
    site: Site, shop: httpx.Client, codes: list[str]
):
    redeem(shop, codes[0], "r1")
    shop.post("/v1/coupons:undo", json={"code": codes[0], "reason": "bought nothing"})
    rows = shop.get("/v1/audit", params={"limit": 50}).json()["data"]
    told = [row for row in rows if row["command"].startswith("coupon")]
    assert [row["command"] for row in told[:2]] == ["coupon.undo", "coupon.redeem"]
    assert (told[0]["reason"], told[1]["more"]["state"]) == ("bought nothing", "redeemed")
    assert {row["command"] for row in told[2:]} == {"coupon.issue", "coupon_pool.create"}
    assert not any(code in str(told) for code in codes)


def test_codes_that_are_nobodys_are_counted_and_end_by_a_429(site: Site, tenant: str, shop: httpx.Client):
    till = site.key(tenant, "coupons:redeem")
    before = site.app.state.misses.total
    for number in range(MISSES_MAX):
        assert redeem(till, "000000000000", str(number)).status_code == 404
    stopped = redeem(till, "000000000000", "one more")
    assert (stopped.status_code, stopped.json()["code"]) == (429, "too_many_misses")
    assert redeem(site.key(tenant, "coupons:redeem"), "000000000000", "other").status_code == 404
    assert f"volley_coupon_misses_total {before + MISSES_MAX + 1}.0" in shop.get("/metrics").text
    site.clock.advance(WITHIN_MS // 1_000 + 1)
    assert redeem(till, "000000000000", "after a while").status_code == 404


def test_misses_of_a_key_are_forgotten_with_their_time():
    misses = Misses()
    for at_ms in range(MISSES_MAX):
        with pytest.raises(CommandRefused, match="x"), misses.counted(1, at_ms):
            raise CommandRefused(404, "coupon_unknown", "x")
    with pytest.raises(CommandRefused, match="too_many_misses"), misses.counted(1, WITHIN_MS - 1):
        pass
    with misses.counted(1, WITHIN_MS + 1), misses.counted(2, 0):
        pass
    assert misses.total == MISSES_MAX
