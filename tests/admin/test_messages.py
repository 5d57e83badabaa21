"""POST /v1/messages: kept once it is answered, one result each, repeat-safe; looked at, listed, cancelled."""

from __future__ import annotations

import httpx

from tests.admin.conftest import Site

ONCE = {"Idempotency-Key": "one"}
CODE = {"to": "+4915112345678", "text": "Your code is 4711", "purpose": "otp", "ref": "login-7"}


def test_each_message_has_its_result_and_a_bad_one_stops_no_other(shop: httpx.Client):
    answer = shop.post("/v1/messages", json={"messages": [CODE, CODE | {"to": "nobody"}]}, headers=ONCE)
    assert answer.status_code == 202
    good, bad = answer.json()["results"]
    assert (good["index"], good["decision"], good["parts"], good["ref"], good["error"]) == (
        0,
        "sent",
        1,
        "login-7",
        None,
    )
    assert (bad["index"], bad["id"], bad["error"]["pointer"]) == (1, None, "/to")
    again = shop.post("/v1/messages", json={"messages": [CODE, CODE | {"to": "nobody"}]}, headers=ONCE)
    assert again.json() == answer.json() and again.headers["Idempotent-Replayed"] == "true"
    assert len(shop.get("/v1/messages").json()["data"]) == 1


def test_all_bad_is_422_and_nothing_is_kept(shop: httpx.Client):
    answer = shop.post("/v1/messages", json={"messages": [CODE | {"text": ""}]}, headers=ONCE)
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/messages/0/text"
    assert shop.get("/v1/messages").json()["data"] == []


def test_it_needs_a_key_of_its_own_and_the_right(site: Site, shop: httpx.Client):
    answer = shop.post("/v1/messages", json={"messages": [CODE]})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")
    reader = site.key(site.tenant("Other"), "messages:read")
    assert reader.post("/v1/messages", json={"messages": [CODE]}, headers=ONCE).status_code == 403
    assert reader.get("/v1/messages").status_code == 200


def test_shape_and_number_of_a_request_are_checked(shop: httpx.Client):
    for body in ({"messages": []}, {"messages": [CODE] * 1_001}, {"messages": [CODE | {"txt": "x"}]}, {}):
        assert shop.post("/v1/messages", json=body, headers=ONCE).status_code == 422


def test_one_is_looked_at_listed_by_pages_and_cancelled(site: Site, shop: httpx.Client):
    sent = shop.post("/v1/messages", json={"messages": [CODE | {"ref": str(i)} for i in range(5)]}, headers=ONCE).json()
    ids = [result["id"] for result in sent["results"]]
    shown = shop.get(f"/v1/messages/{ids[0]}").json()
    assert (shown["state"], shown["to"], shown["purpose"], shown["message_id"]) == ("unsent", CODE["to"], "otp", None)
    first = shop.get("/v1/messages?limit=3").json()
    rest = shop.get("/v1/messages", params={"limit": 3, "after": first["next"]}).json()
    assert [row["id"] for row in first["data"] + rest["data"]] == ids[::-1] and rest["next"] is None
    assert shop.post(f"/v1/messages/{ids[1]}:cancel").json() == {"id": ids[1], "state": "cancelled"}
    assert shop.get(f"/v1/messages/{ids[1]}").json()["state"] == "cancelled"
    assert shop.post(f"/v1/messages/{ids[1]}:cancel").json()["code"] == "state_conflict"
    for wrong in ("msg_0000000000ZZZ", "nonsense", "cmp_0000000000000"):
        assert shop.get(f"/v1/messages/{wrong}").status_code == 404
        assert shop.post(f"/v1/messages/{wrong}:cancel").status_code == 404
    other = site.key(site.tenant("Other"), "*")
    assert other.get(f"/v1/messages/{ids[0]}").status_code == 404


def test_options_of_a_message_are_kept_shown_and_held_to_their_rules(shop: httpx.Client):
    asked = [
        CODE | {"options": {"class": 0, "priority": 3, "registered_delivery": "failure"}},
        CODE | {"options": {"flash": True, "class": 2}},
        CODE | {"options": {"priority": 9}},
        CODE | {"text": "日" * 71},
    ]
    good, clash, wrong, long = shop.post("/v1/messages", json={"messages": asked}, headers=ONCE).json()["results"]
    assert clash["error"]["pointer"] == "/options/flash" and "class 2" in clash["error"]["detail"]
    assert wrong["error"]["pointer"] == "/options/priority" and "0 to 3" in wrong["error"]["detail"]
    shown = shop.get(f"/v1/messages/{good['id']}").json()
    assert shown["options"] == {"class": 0, "priority": 3, "registered_delivery": "failure"}
    assert (good["billed"], long["parts"], long["billed"]) == (1, 2, 2)
    unknown = shop.post(
        "/v1/messages", json={"messages": [CODE | {"options": {"flsh": True}}]}, headers={"Idempotency-Key": "2"}
    )
    assert unknown.status_code == 422


def test_whose_a_message_id_of_the_smsc_is_can_be_asked(site: Site, shop: httpx.Client):
    answer = shop.get("/v1/message-ids/4A3F2201")
    assert (answer.status_code, answer.json()) == (200, {"data": []})
    assert shop.get(f"/v1/message-ids/{'9' * 65}").status_code == 422
    assert site.key(site.tenant("Third"), "messages:read").get("/v1/message-ids/1").status_code == 403
