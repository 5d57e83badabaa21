"""Segments through the API: counted while typed, kept with their versions, listed, compared, counted day by day."""

import threading

import httpx
import pytest

from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id, public_member_id
from dispatcher.segments.answers.daily import Due, record
from tests.admin.conftest import Site

MEMBERS = 12


@pytest.fixture(scope="module")
def tenant(site: Site) -> str:
    return site.tenant(zone="Europe/Berlin")


@pytest.fixture(scope="module")
def gold(site: Site, tenant: str) -> httpx.Client:
    """A tenant's key; its members: 12, every third gold, joined a month apart."""
    shop = site.key(tenant, "*")
    shop.post("/v1/fields", json={"name": "tier", "kind": "dict", "values": ["basic", "gold"], "closed": True})
    shop.post("/v1/fields", json={"name": "age", "kind": "int"})
    shop.post("/v1/fields", json={"name": "joined", "kind": "date"})
    for index in range(MEMBERS):
        values = {"tier": "basic" if index % 3 else "gold", "age": 20 + index, "joined": f"2026-{index + 1:02}-10"}
        made = shop.post("/v1/members", json={"msisdn": f"+4915112340{index:03}", "values": values})
        assert made.status_code == 201, made.text
    return shop


def saved(shop: httpx.Client, title: str, expr: str, **more) -> dict:
    answer = shop.post("/v1/segments", json={"title": title, "expr": expr, **more})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def test_a_count_says_all_that_the_console_shows(gold):
    asked = {"expr": 'tier = "gold" or age > 30', "purpose": "service", "as_of": "2026-03-01T09:00:00+01:00"}
    answer = gold.post("/v1/segments:count", json=asked).json()
    assert (answer["matched"], answer["reachable"], answer["unknown"]) == (5, 5, 0)
    assert answer["as_of"] == "2026-03-01T09:00:00.000+01:00"
    assert sum(answer["waterfall"].values()) == 0


def test_as_of_moves_what_a_relative_date_means(gold):
    rule = {"expr": "joined in last 31 days"}
    counts = [
        gold.post("/v1/segments:count", json={**rule, "as_of": f"2026-{month:02}-20T12:00:00Z"}).json()["matched"]
        for month in (1, 2, 12)
    ]
    assert counts == [1, 1, 1]
    assert gold.post("/v1/segments:count", json={**rule, "as_of": "2030-01-01T00:00:00Z"}).json()["matched"] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/expr"),
        ({"expr": "everyone", "tree": {"everyone": True}}, "/expr"),
        ({"expr": "everyone", "as_of": "2026-03-01T09:00:00"}, "/as_of"),
        ({"expr": "everyone", "as_of": "0001-01-01T00:00:00Z"}, "/as_of"),
        ({"expr": "everyone", "purpose": "fun"}, "/purpose"),
    ],
)
def test_a_wrong_body_is_told_where(gold, body, pointer):
    answer = gold.post("/v1/segments:count", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_rule_goes_to_a_tree_and_back(gold):
    expr = 'tier = "gold" and not age > 25'
    tree = gold.post("/v1/segments:count", json={"expr": expr, "with_tree": True}).json()["tree"]
    answer = gold.post("/v1/segments:count", json={"tree": tree}).json()
    assert answer["text"] == gold.post("/v1/segments:count", json={"expr": expr}).json()["text"]
    assert gold.post("/v1/segments:count", json={"tree": {"nonsense": 1}}).status_code == 422


def test_explain_comes_alone_and_with_a_count(gold):
    alone = gold.post("/v1/segments:explain", json={"expr": 'tier = "gold" and age > 20'})
    assert alone.status_code == 200, alone.text
    both = gold.post("/v1/segments:count", json={"expr": 'tier = "gold" and age > 20', "explain": True}).json()
    assert (both["matched"], both["explain"].keys()) == (3, alone.json().keys())


def test_a_newer_count_of_the_same_caller_takes_the_older_ones_place(site, gold):
    counting = site.app.state.counting
    who = (7, 1, "console")
    with counting.begin(who) as older:
        older()
        with counting.begin(who) as newer:
            newer()
            with pytest.raises(CommandRefused) as caught:
                older()
        with counting.begin((7, 1, "elsewhere")), counting.begin((7, 2, "console")):
            newer()
    assert (caught.value.status, caught.value.code) == (409, "superseded")
    assert repr(counting) == "Counting(0 callers)"


def test_a_superseded_request_is_answered_409(site, gold, tenant):
    """The only read thread that is free is held, so that both counts wait and the older one finds itself replaced."""
    reads, held = site.app.state.reads, threading.Event()
    holding = [site.call(lambda: reads._pool.submit(held.wait)) for _ in range(4)]
    answers: dict[str, httpx.Response] = {}

    def ask(name: str, **headers: str) -> threading.Thread:
        def post() -> None:
            answers[name] = gold.post("/v1/segments:count", json={"expr": "everyone"}, headers=headers)

        before = reads._waiting
        thread = threading.Thread(target=post)
        thread.start()
        while reads._waiting == before and thread.is_alive():
            thread.join(0.001)
        return thread

    threads = [ask("older"), ask("elsewhere", **{"X-Caller": "report"}), ask("newer")]
    held.set()
    for thread in threads:
        thread.join(10)
    assert all(one.result(10) for one in holding)
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "older": 409,
        "newer": 200,
        "elsewhere": 200,
    }
    assert answers["older"].json()["code"] == "superseded"


def test_a_segment_is_kept_with_every_version(gold):
    made = saved(gold, "Golden", 'tier  =  "gold"', description="for the spring offer")
    assert (made["expr"], made["version"], made["description"]) == ('tier = "gold"', 1, "for the spring offer")
    place = f"/v1/segments/{made['id']}"
    seen = gold.get(place)
    assert seen.json() == made | {"warnings": []}
    edited = gold.patch(place, json={"expr": "age > 25", "title": "Older"}, headers={"If-Match": seen.headers["ETag"]})
    assert edited.status_code == 200, edited.text
    assert (edited.json()["title"], edited.json()["expr"], edited.json()["version"]) == ("Older", "age > 25", 2)
    stale = gold.patch(place, json={"title": "Mine"}, headers={"If-Match": seen.headers["ETag"]})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_changed")
    assert gold.patch(place, json={"title": "Mine"}, headers={"If-Match": "new"}).status_code == 412
    versions = gold.get(f"{place}/versions").json()["data"]
    assert [(one["version"], one["expr"]) for one in versions] == [(1, 'tier = "gold"'), (2, "age > 25")]
    assert all(one["at"].startswith("20") for one in versions)
    assert gold.get(place, params={"version": 1}).json()["expr"] == 'tier = "gold"'
    assert gold.get(place, params={"version": 9}).status_code == 404
    assert gold.delete(place).status_code == 204
    assert gold.get(place).status_code == gold.get(f"{place}/versions").status_code == 404
    assert gold.delete(place).status_code == 404


def test_a_segment_that_another_names_stays(gold):
    inner = saved(gold, "Inner", "age > 25")
    outer = saved(gold, "Outer", 'in segment "Inner" and tier is known')
    refused = gold.delete(f"/v1/segments/{inner['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict")
    assert "Outer" in refused.text
    assert gold.delete(f"/v1/segments/{outer['id']}").status_code == 204
    assert gold.delete(f"/v1/segments/{inner['id']}").status_code == 204


def test_another_tenants_segment_is_not_found(site, gold):
    mine = saved(gold, "Mine", "everyone")
    other = site.key(site.tenant("Other"), "*")
    for path in ("", "/versions", "/members", "/counts", "/histogram?field=points"):
        assert other.get(f"/v1/segments/{mine['id']}{path}").status_code == 404
    assert other.delete(f"/v1/segments/{mine['id']}").status_code == 404


def test_members_come_in_pages_of_one_instant_and_as_a_stream(gold):
    segment = saved(gold, "Early", "joined in last 100 days")
    place, asked = f"/v1/segments/{segment['id']}/members", {"as_of": "2026-06-15T00:00:00Z"}
    whole = gold.get(place, params=asked).json()
    assert whole == {"data": [{"id": public_member_id(no)} for no in (2, 3, 4, 5)], "next": None}
    first = gold.get(place, params={**asked, "limit": 3}).json()
    rest = gold.get(place, params={"limit": 3, "after": first["next"]}).json()  # without as_of: the cursor has it
    assert (first["data"] + rest["data"], rest["next"]) == (whole["data"], None)
    stream = gold.get(place, params=asked, headers={"Accept": "application/x-ndjson"})
    assert stream.headers["content-type"].startswith("application/x-ndjson")
    assert stream.text.splitlines() == [f'{{"id": "{one["id"]}"}}' for one in whole["data"]]
    assert gold.get(place, params={"after": "x"}).status_code == 400


def test_a_snapshot_stays_while_its_segment_goes_on(gold):
    first = saved(gold, "Of twenty", "age between 20 and 22")
    made = gold.post(
        f"/v1/segments/{first['id']}:snapshot", json={"title": "Twenty then", "as_of": "2026-03-01T00:00Z"}
    )
    assert made.status_code == 201, made.text
    kept = made.json()
    assert (kept["frozen"]["count"], kept["frozen"]["of"], kept["version"]) == (3, first["id"], 1)
    gold.patch(f"/v1/segments/{first['id']}", json={"expr": "age = 20"})
    assert gold.post(f"/v1/segments/{kept['id']}:count").json()["matched"] == 3
    assert len(gold.get(f"/v1/segments/{kept['id']}/members").json()["data"]) == 3
    again = gold.post("/v1/segments:snapshot", json={"title": "Twenty then", "expr": "everyone"})
    assert (again.status_code, again.json()["code"]) == (409, "state_conflict")
    refused = gold.patch(f"/v1/segments/{kept['id']}", json={"expr": "everyone"})
    assert refused.status_code == 409 and "snapshot" in refused.json()["detail"]
    for one in (kept, first):
        assert gold.delete(f"/v1/segments/{one['id']}").status_code == 204


def test_a_list_of_numbers_becomes_a_segment_and_says_whom_it_leaves_out(gold):
    number = gold.get("/v1/members", params={"limit": 1}).json()["data"][0]["msisdn"]
    body = {"title": "Friday", "numbers": [number, "12", number, "+4915199999999"]}
    made = gold.post("/v1/segments:numbers", json=body)
    assert (made.status_code, made.json()["frozen"]["count"]) == (201, 1), made.text
    assert [one["code"] for one in made.json()["left_out"]] == ["no_valid_number", "duplicate_number", "not_a_member"]
    shown = gold.get(f"/v1/segments/{made.json()['id']}").json()
    assert shown["frozen"]["listed"]["given"] == 4
    assert gold.post("/v1/segments:count", json={"expr": 'in segment "Friday"'}).json()["matched"] == 1
    assert gold.post("/v1/segments:numbers", json={"title": "None", "numbers": []}).status_code == 422
    assert gold.post("/v1/segments:numbers", json=body).json()["code"] == "state_conflict"


def test_a_rule_that_is_not_saved_lists_its_members_too(gold):
    answer = gold.post("/v1/segments:members", json={"expr": 'tier = "gold" limit 2'})
    assert [one["id"] for one in answer.json()["data"]] == [public_member_id(no) for no in (0, 3)]


def test_a_histogram_inside_a_rule_and_inside_a_segment(gold):
    asked = {"expr": "age >= 26", "field": "tier"}
    found = gold.post("/v1/segments:histogram", json=asked).json()
    assert (found["matched"], found["known"], found["unknown"]) == (6, 6, 0)
    assert {row["value"]: row["count"] for row in found["top"]} == {"basic": 4, "gold": 2}
    segment = saved(gold, "Grown", "age >= 26")
    place = f"/v1/segments/{segment['id']}/histogram"
    assert gold.get(place, params={"field": "tier"}).json()["top"] == found["top"]
    ages = gold.get(place, params={"field": "age", "bins": 3}).json()
    assert (ages["min"], ages["max"]) == (26, 31)
    assert sum(row["count"] for row in ages["histogram"]) == 6
    wrong = gold.get(place, params={"field": "aeg"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "unknown_field")


def test_overlap_and_sample(gold):
    found = gold.post("/v1/segments:overlap", json={"exprs": ['tier = "gold"', "age >= 26"]}).json()
    assert (found["shared"], found["union"], found["every"]) == ([[4, 2], [2, 6]], 8, 2)
    wrong = gold.post("/v1/segments:overlap", json={"exprs": ["everyone", "aeg > 1"]})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/exprs/1")
    drawn = gold.post("/v1/segments:sample", json={"expr": "everyone", "n": 4, "seed": "a"}).json()
    assert (drawn["matched"], len(drawn["members"])) == (MEMBERS, 4)
    assert all(one["values"]["tier"] in ("gold", "basic") for one in drawn["members"])


def test_daily_counts_are_read_from_to(site, gold, tenant):
    segment = saved(gold, "Daily", "everyone")
    number, owner = parse_public_id("seg", segment["id"]), parse_public_id("ten", tenant)
    changes = Changes()

    def keep() -> None:
        with site.store.snapshot() as view:
            for day in (20_500, 20_501, 20_502):
                kept = {"matched": day, "reachable": 1, "at_ms": day * 86_400_000, "version": 1}
                changes.merge(record(view, Due(owner, number, day), kept))
        site.store.apply(changes)

    site.call(keep)
    place = f"/v1/segments/{segment['id']}/counts"
    rows = gold.get(place).json()["data"]
    assert [(row["day"], row["matched"], row["at"][:10]) for row in rows] == [
        ("2026-02-16", 20_500, "2026-02-16"),
        ("2026-02-17", 20_501, "2026-02-17"),
        ("2026-02-18", 20_502, "2026-02-18"),
    ]
    assert gold.get(place, params={"from": "2026-02-17", "to": "2026-02-17"}).json()["data"] == rows[1:2]
    assert gold.get(place, params={"from": "2026-02-17", "to": "2026-02-01"}).status_code == 422


def test_a_key_without_the_right_gets_nothing(site, tenant, gold):
    nobody = site.key(tenant, "imports:write")
    assert nobody.post("/v1/segments:count", json={"expr": "everyone"}).status_code == 403
    counts_only = site.key(tenant, "segments:read")
    assert counts_only.post("/v1/segments:count", json={"expr": "everyone"}).status_code == 200
    for path in ("segments:sample", "segments:members"):
        assert counts_only.post(f"/v1/{path}", json={"expr": "everyone"}).status_code == 403
    assert counts_only.post("/v1/segments", json={"title": "x", "expr": "everyone"}).status_code == 403
