"""A campaign's report, effect, box of the uncertain and a member's story, through the API."""

from __future__ import annotations

import httpx
import pytest

from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import State
from tests.admin.conftest import Site
from tests.campaigns.log import ACCEPTED, RECEIPT, UNCERTAIN, claim, log, record

MEMBERS = 6  # of `peopled`
ARMS = [{"name": "A", "share": 50, "text": "Hi"}, {"name": "B", "share": 50, "text": "Bye"}]


@pytest.fixture
def path(site: Site, peopled: httpx.Client) -> str:
    made = peopled.post("/v1/campaigns", json={"title": "Spring", "sender": "Shop", "text": "Hi"}).json()["id"]
    token = peopled.post(f"/v1/campaigns/{made}:preview").json()["token"]
    once = {"Idempotency-Key": made}
    assert peopled.post(f"/v1/campaigns/{made}:start", json={"token": token}, headers=once).status_code == 200
    now, campaign = site.clock.epoch_ms(), parse_public_id("cmp", made)
    site.call(lambda: log(site.store, campaign, now, claim(0, [1] * MEMBERS)))
    records = [record(ACCEPTED, rank, message_id=b"%d" % rank) for rank in range(4)]
    records += [record(RECEIPT, 0, state=State.DELIVERED), *(record(UNCERTAIN, rank, state=2) for rank in (4, 5))]
    site.call(lambda: log(site.store, campaign, now + 1_000, *records))
    site.clock.advance(5)
    return f"/v1/campaigns/{made}"


def test_a_report_its_line_and_what_changed_since(shop: httpx.Client, path: str):
    found = shop.get(f"{path}/report", params={"bucket_s": 1, "since": "2020-01-01T00:00:00Z"}).json()
    assert [step["count"] for step in found["funnel"]] == [6, 6, 4, 1, 0]
    assert found["line"]["bucket_s"] == 1
    assert found["changed_since"]["recipients"] == 1
    assert shop.get(f"{path}/report", params={"since": "yesterday"}).status_code == 422
    assert shop.get(f"{path[:-3]}000/report").status_code == 404


def test_an_effect_with_a_goal_and_one_that_is_no_expression(shop: httpx.Client, path: str):
    found = shop.get(f"{path}/effect", params={"goal": "points >= 0"}).json()
    (everybody,) = found["groups"]
    assert (everybody["group"], everybody["sent"], everybody["rates"]["delivered"]["count"]) == ("all", 6, 1)
    wrong = shop.get(f"{path}/effect", params={"goal": "nonsense >"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "segment_syntax")


def test_days_of_a_tenant(shop: httpx.Client, path: str):
    days = shop.get("/v1/reports/days").json()["data"]
    assert (len(days), days[-1]["sent"], days[0]["sent"]) == (7, 6, 0)
    assert days[-1]["campaigns"][0]["title"] == "Spring"
    many = shop.get("/v1/reports/days", params={"from": "2020-01-01", "to": "2026-01-01"})
    assert (many.status_code, many.json()["code"]) == (422, "invalid_value")


EDGES = ["0001-01-01", "1969-12-31", "1970-01-01", "2105-12-31", "2106-02-07", "9999-12-31"]


@pytest.mark.parametrize("day", EDGES)
def test_years_that_the_ledger_cannot_hold_are_refused_and_those_at_its_edges_answered(
    shop: httpx.Client, path: str, day: str
):
    wanted = 200 if 1970 <= int(day[:4]) <= 2105 else 422
    instant = f"{day}T00:00:00+00:00"
    asked = [
        shop.get("/v1/reports/days", params={"to": day}),
        shop.get("/v1/reports/days", params={"from": day, "to": day}),
        shop.get("/v1/reports/days", params={"since": instant}),
        shop.get(f"{path}/report", params={"since": instant}),
        *(
            shop.post("/v1/segments:count", json={"expr": rule, "as_of": instant})
            for rule in ("sent any campaign in last 1 day", "messages in last 1 day >= 1")
        ),
    ]
    assert [answer.status_code for answer in asked] == [wanted] * len(asked)


def test_a_members_messages_with_parts_and_steps(shop: httpx.Client, path: str):
    member = shop.get("/v1/members").json()["data"][0]["id"]
    found = shop.get(f"/v1/members/{member}/messages").json()
    (one,) = found["data"]
    assert (one["state"], one["parts"][0]["message_id"]) == ("delivered", "0")
    assert [step["what"] for step in one["steps"]] == ["claimed", "accepted", "receipt"]
    assert (found["next"], found["complete"]) == (None, True)
    assert shop.get("/v1/members/mem_000000000000/messages").status_code == 404


def test_the_uncertain_are_listed_and_decided_by_hand(site: Site, shop: httpx.Client, path: str):
    made = path.rpartition("/")[2]
    page = shop.get("/v1/uncertain", params={"limit": 1}).json()
    assert (page["total"], page["data"][0]["cause"], page["data"][0]["rank"]) == (2, "bind_lost", 4)
    rest = shop.get("/v1/uncertain", params={"after": page["next"], "campaign": made}).json()
    assert [row["rank"] for row in rest["data"]] == [5]
    assert shop.get("/v1/uncertain", params={"cause": "kill"}).json()["total"] == 0
    assert shop.get("/v1/uncertain", params={"cause": "bind_lost"}).json()["total"] == 2
    body = {"decision": "sent", "campaign": made, "ranks": [4]}
    assert shop.post("/v1/uncertain:decide", json=body, headers={"Idempotency-Key": "a"}).status_code == 422
    done = shop.post("/v1/uncertain:decide", json={**body, "reason": "in their log"}, headers={"Idempotency-Key": "b"})
    assert (done.status_code, done.json()["decided"]) == (200, 1), done.text
    entry = shop.get("/v1/audit", params={"command": "uncertain"}).json()["data"][0]
    assert (entry["command"], entry["reason"], entry["object"]) == ("uncertain.decide", "in their log", made)
    assert entry["more"] == {"decision": "sent", "decided": 1, "parts": 1}
    site.call(lambda: log(site.store, 1, 1))
    assert shop.get("/v1/uncertain").json()["total"] == 1


def test_arms_come_and_go_through_the_api(shop: httpx.Client):
    body = {"title": "Test", "arms": ARMS, "holdout": {"percent": 10}, "text": "Hi"}
    made = shop.post("/v1/campaigns", json=body)
    assert (made.status_code, [arm["share"] for arm in made.json()["arms"]]) == (201, [50, 50]), made.text
    path = f"/v1/campaigns/{made.json()['id']}"
    wrong = shop.patch(path, json={"arms": [{**ARMS[0], "share": 60}, ARMS[1]]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "arm_shares")
    assert "A 60" in wrong.json()["detail"]
    edited = shop.patch(path, json={"holdout": None, "arms": []}).json()
    assert (edited["arms"], edited["holdout"]) == ([], None)


def test_a_move_takes_a_reason_and_an_etag(shop: httpx.Client, path: str):
    tag = shop.get(path).headers["ETag"]
    paused = shop.post(f"{path}:pause", json={"reason": "wrong price"}, headers={"If-Match": tag})
    assert (paused.status_code, paused.json()["history"][-1]["reason"]) == (200, "wrong price")
    late = shop.post(f"{path}:cancel", json={"reason": "no"}, headers={"If-Match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "version_changed")
    assert shop.get(path).json()["state"] == "paused"
    new = shop.post(f"{path}:cancel", headers={"If-Match": paused.headers["ETag"]})
    assert new.json()["state"] == "cancelled"
