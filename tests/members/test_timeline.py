"""What happened with one person, newest first and whole; and all that is held about them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.apps.merge import merge_members
from dispatcher.apps.messages import send_messages
from dispatcher.apps.points.account import add_points
from dispatcher.apps.subject import subject
from dispatcher.apps.timeline import timeline
from dispatcher.campaigns.contacts import rank_of
from dispatcher.control import commands as c
from dispatcher.members.consent import record_optout
from dispatcher.members.fields import define_field
from dispatcher.outcomes.inbound import Recent, hear
from dispatcher.records.events import Delivered
from dispatcher.store import Store
from tests.coupons.tills import code, new_pool, redeemed, undone
from tests.fakes.house import SENDER, House, in_house
from tests.fakes.people import run_import
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

ONE, TWO = 4915100000001, 4915100000002


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    return store


def told(store: Store, member_no: int = 0, **page: Any) -> tuple[list[dict[str, Any]], tuple[int, int] | None]:
    with store.snapshot() as view:
        found = timeline(view, 1, member_no, **page)
    assert found is not None
    return found


def earn(store: Store, member_no: int, at_ms: int, delta: int = 1) -> None:
    command = c.AddPoints(member_no=member_no, delta=delta, source="till", key=f"{member_no} {at_ms}", why="tea")
    do(store, add_points, command, at_ms=at_ms)


def say(store: Store, number: int, text: str, at_ms: int) -> None:
    message = Delivered(source_addr=str(number), destination_addr=SENDER, octets=text.encode())
    with store.begin_write() as view:
        view.apply(hear(view, message, at_ms, Recent())[0])


def test_events_of_every_kind_come_newest_first(shop: Store):
    new_member(shop, ONE)
    earn(shop, 0, NOW_MS + 1_000)
    say(shop, ONE, "hello", NOW_MS + 2_000)
    say(shop, ONE, "STOP", NOW_MS + 60_000)
    earn(shop, 0, NOW_MS + 90_000)
    events, more = told(shop)
    assert [event["kind"] for event in events] == ["points", "inbound", "consent", "inbound", "points"] or [
        event["kind"] for event in events
    ] == ["points", "consent", "inbound", "inbound", "points"]
    assert more is None and [event["at_ms"] for event in events] == sorted((e["at_ms"] for e in events), reverse=True)
    assert events[0]["at"].startswith("20")


def test_a_coupon_redeemed_and_taken_back_is_told_with_those_of_who_was_merged_in(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    pool = new_pool(shop)
    texts = [code(shop, pool, no) for no in (0, 1)]
    redeemed(shop, texts[0], "a", at_ms=NOW_MS + 1, shop="Mitte")
    undone(shop, texts[0], at_ms=NOW_MS + 2)
    redeemed(shop, texts[1], "b", at_ms=NOW_MS + 3)
    do(shop, merge_members, c.MergeMembers(winner=0, loser=1), at_ms=NOW_MS + 4)
    events = [event for event in told(shop)[0] if event["kind"] == "coupon"]
    assert [(event["code"], event["what"], event["state"], event["shop"]) for event in events] == [
        (texts[1], "redeemed", "redeemed", ""), (texts[0], "redeemed", "undone", "Mitte"),
    ]  # fmt: skip
    with shop.snapshot() as view:
        found = subject(view, 1, 0, NOW_MS)
    assert found is not None and [event["code"] for event in found["coupons"]] == [texts[1], texts[0]]


def test_a_single_message_is_told_apart_from_an_answer(shop: Store):
    new_member(shop, ONE)
    one = {"to": f"+{ONE}", "text": "Your table is ready", "purpose": "transactional"}
    do(shop, send_messages, c.SendMessages(messages=[one]))
    events, _ = told(shop)
    assert [event["text"] for event in events if event["kind"] == "single_message"] == ["Your table is ready"]


def test_what_was_merged_in_is_part_of_it(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    earn(shop, 1, NOW_MS + 1_000, 30)
    say(shop, TWO, "from my old phone", NOW_MS + 2_000)
    do(shop, merge_members, c.MergeMembers(winner=0, loser=1), at_ms=NOW_MS + 5_000)
    events, _ = told(shop)
    assert [event["kind"] for event in events].count("points") == 3
    assert {event.get("text") for event in events} >= {"from my old phone"}
    assert any(event["kind"] == "merge" for event in events)
    with shop.snapshot() as view:
        assert timeline(view, 1, 1) is None


def test_a_value_with_a_source_and_an_import_are_told(shop: Store):
    do(shop, define_field, c.DefineField(title="mail", kind="text", sources=True))
    new_member(shop, ONE, mail="a@b")
    run_import(shop, 9, f"phone,visits\n+{ONE},5\n".encode())
    events, _ = told(shop)
    assert {(event["kind"], event.get("source")) for event in events} >= {("value", "api"), ("import", None)}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.integers(0, 6), max_size=14), limit=st.integers(1, 5))
def test_pages_of_any_size_tell_the_same_once_each(tmp_path_factory, times: list[int], limit: int):
    from dispatcher.store import open_store

    with open_store(tmp_path_factory.mktemp("t"), write=True, create=True, sync=False) as store:
        new_shop(store)
        new_member(store, ONE)
        for at, moment in enumerate(times):
            command = c.AddPoints(member_no=0, delta=1, source="till", key=str(at))
            do(store, add_points, command, at_ms=NOW_MS + moment)
            with store.begin_write() as view:
                view.apply(record_optout(view, 1, ONE, "care", NOW_MS + moment, str(at)))
        whole, more = told(store, limit=1_000)
        assert more is None and len(whole) == 2 * len(times)
        paged, place = [], None
        for _ in itertools.count():
            page, place = told(store, limit=limit, before=place)
            paged += page
            if place is None:
                break
        assert paged == whole


def test_all_that_is_held_about_a_person_is_one_json(shop: Store):
    new_member(shop, ONE, name="Ada", tags=["hotpot"])
    new_member(shop, TWO, name="Other person")
    earn(shop, 0, NOW_MS + 1)
    say(shop, ONE, "STOP", NOW_MS + 60_000)
    say(shop, TWO, "not theirs", NOW_MS + 61_000)
    with shop.snapshot() as view:
        found = subject(view, 1, 0, NOW_MS)
        assert subject(view, 1, 9, NOW_MS) is None
    assert found is not None
    text = json.dumps(found)
    assert "Ada" in text and "Other person" not in text and "not theirs" not in text
    assert found["numbers"] == [
        {"msisdn": f"+{ONE}", "opted_out": ["marketing", "care", "service"], "suppressed": False}
    ]
    assert [word["what"] for word in found["consent"]] == ["optout"]
    assert found["points"][0]["entries"][0]["delta"] == 1 and [row["text"] for row in found["inbound"]] == ["STOP"]
    assert found["complete"]


@in_house(40)
async def test_a_broadcast_its_receipt_and_an_answer_are_told(house: House):
    campaign = await house.send_all()
    number = house.numbers[33]
    house.smsc.inject_mo(str(number), SENDER, "POINTS")
    await house.until(lambda: len(house.lines(number)) == 2)
    with house.store.snapshot() as view:
        assert rank_of(view, campaign, 33) == 33 and rank_of(view, campaign, 40) is None
        found = timeline(view, 1, 33)
    assert found is not None
    kinds = {event["kind"]: event for event in found[0]}
    assert {"message", "receipt", "inbound", "answer"} <= set(kinds)
    assert kinds["message"]["title"] == "news" and kinds["receipt"]["state"] == "delivered"
    assert kinds["message"]["decision"] == "sent" and "33" in kinds["answer"]["text"]
