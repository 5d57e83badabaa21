"""Codes at a till: redeemed once a person and pool, each refusal by its own code, everything taken back exactly."""

from __future__ import annotations

import pytest

from dispatcher.apps.coupons import Wanted, redemption_log, show_coupon
from dispatcher.apps.merge import merge_members, unmerge_members
from dispatcher.control.commands import (
    CloseCouponPool,
    Envelope,
    EraseMember,
    IssueCoupon,
    MergeMembers,
    RedeemCoupon,
    UndoCoupon,
    UnmergeMembers,
    VoidCoupon,
)
from dispatcher.coupons.code import code_of
from dispatcher.coupons.pool import close_pool, need_pool
from dispatcher.coupons.redeem import issue, redeem, undo, void
from dispatcher.daemon.handlers import execute
from dispatcher.errors import CommandRefused
from dispatcher.members.erase import EraseJob, erase_member
from dispatcher.records.changes import Changes
from dispatcher.records.keys import public_id, public_member_id
from dispatcher.records.states import Decision
from dispatcher.store import Store
from dispatcher.store.layout import COUPON_KEY, TENANT_U64
from dispatcher.store.ledger import SKIPPED
from dispatcher.store.values import pack, unpack
from tests.coupons.tills import (
    FIRST,
    KEY,
    code,
    new_pool,
    number,
    problems,
    redeemed,
    said,
    sent_with,
    undone,
    voided,
    why_not,
)
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused
from tests.store.logs import Claim, append, value_of

MEMBERS = 6


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    for i in range(MEMBERS):
        new_member(store, FIRST + i)
    return store


def test_a_redeemed_code_says_what_it_is_worth_whose_it_is_and_what_brought_it(shop: Store):
    pool = new_pool(shop)
    campaign = sent_with(shop, pool, "Mail", [1, 1])
    text = code(shop, pool, 1)
    found = redeemed(shop, f"{text[:4]}-{text[4:8]} {text[8:].lower()}", shop="Mitte", reference="7", amount_micros=5)
    assert found == {
        "id": found["id"], "code": text, "state": "redeemed", "kind": "redeemed", "member": public_member_id(1),
        "pool": public_id("cpl", pool), "value": "Spring cake", "campaign": public_id("cmp", campaign), "arm": None,
        "at": found["at"], "shop": "Mitte", "reference": "7", "amount_micros": 5, "actor": "test", "reason": "",
        "undone": None,
    }  # fmt: skip
    with shop.snapshot() as view:
        assert need_pool(view, 1, pool)["redeemed"] == 1
    assert problems(shop) == []


def test_a_second_time_is_refused_with_when_and_where(shop: Store):
    text = code(shop, new_pool(shop), 0)
    first = redeemed(shop, text, "a", shop="Mitte", reference="7")
    error = why_not(shop, text, "b", at_ms=NOW_MS + 1)
    assert (error.status, error.code) == (409, "coupon_redeemed")
    assert error.extra == {"redemption": first["id"], "at": first["at"], "shop": "Mitte", "reference": "7"}


def test_the_same_key_again_answers_the_first_and_another_code_under_it_is_refused(shop: Store):
    pool = new_pool(shop)
    first = redeemed(shop, code(shop, pool, 0), "a", shop="Mitte")
    assert redeemed(shop, code(shop, pool, 0), "a", shop="Mitte") == {**first, "repeated": True}
    for other in (
        RedeemCoupon(code=code(shop, pool, 1), key="a", shop="Mitte"),
        RedeemCoupon(code=code(shop, pool, 0), key="a", shop="Nord"),
        RedeemCoupon(code=code(shop, pool, 0), key="a", shop="Mitte", amount_micros=1),
    ):
        assert refused(shop, redeem, other).code == "idempotency_conflict"
    with shop.snapshot() as view:
        assert need_pool(view, 1, pool)["redeemed"] == 1


def test_a_code_that_is_nobodys_is_answered_the_same_whatever_was_near(shop: Store):
    pool = new_pool(shop)
    text = code(shop, pool, 0)
    near = text[:-1] + ("0" if text[-1] != "0" else "1")
    nobody = code_of(KEY, MEMBERS + 100)  # of a number that was never given
    told = {(why_not(shop, one).status, why_not(shop, one).code, why_not(shop, one).detail)
            for one in (near, nobody, "", "no code at all", "0" * 12)}  # fmt: skip
    assert len(told) == 1 and next(iter(told))[:2] == (404, "coupon_unknown")


def test_a_pool_that_is_closed_too_early_too_late_or_empty_is_told_apart(shop: Store):
    early, late = (
        new_pool(shop, "early", valid_from_ms=NOW_MS + 1),
        new_pool(shop, "late", valid_until_ms=NOW_MS, key=b"l" * 16),
    )
    none, shut = new_pool(shop, "none", stock=1, key=b"n" * 16), new_pool(shop, "shut", key=b"s" * 16)
    do(shop, close_pool, CloseCouponPool(pool=shut))
    redeemed(shop, code(shop, none, 1))
    codes = {name: why_not(shop, code(shop, pool, 0)).code
             for name, pool in {"early": early, "late": late, "none": none, "shut": shut}.items()}  # fmt: skip
    assert codes == {
        "early": "coupon_not_yet", "late": "coupon_expired", "none": "out_of_stock", "shut": "coupon_pool_closed",
    }  # fmt: skip
    assert redeemed(shop, code(shop, early, 0), at_ms=NOW_MS + 1)["state"] == "redeemed"
    assert redeemed(shop, code(shop, late, 0), at_ms=NOW_MS - 1)["state"] == "redeemed"


def test_what_is_taken_back_can_be_redeemed_again_and_is_in_stock_again(shop: Store):
    pool = new_pool(shop, stock=1)
    sent_with(shop, pool, "Mail", [1])
    text = code(shop, pool, 0)
    first = redeemed(shop, text, "a")
    back = undone(shop, text, at_ms=NOW_MS + 1)
    assert (back["id"], back["state"], back["kind"], back["undone"]["reason"]) == (
        first["id"], "undone", "redeemed", "by hand",
    )  # fmt: skip
    assert redeemed(shop, text, "a") == {**first, "state": "undone", "undone": back["undone"], "repeated": True}
    assert redeemed(shop, text, "b", at_ms=NOW_MS + 2)["id"] != first["id"]
    with shop.snapshot() as view:
        assert need_pool(view, 1, pool)["redeemed"] == 1
        rows, _ = redemption_log(view, 1, Wanted())
    assert [row["state"] for row in rows] == ["redeemed", "undone"]
    assert problems(shop) == []


def test_a_void_code_is_not_taken_until_that_is_taken_back(shop: Store):
    pool = new_pool(shop)
    text = code(shop, pool, 0)
    first = voided(shop, text)
    assert voided(shop, text) == first
    assert why_not(shop, text).code == "coupon_void"
    assert undone(shop, text)["kind"] == "void"
    assert redeemed(shop, text)["state"] == "redeemed"
    with pytest.raises(CommandRefused, match="take that back first"):
        voided(shop, text)
    assert problems(shop) == []


def test_nothing_is_taken_back_twice_and_a_person_says_why(shop: Store):
    text = code(shop, new_pool(shop), 0)
    with pytest.raises(CommandRefused, match="neither redeemed nor void"):
        undone(shop, text)
    for handler, command in ((void, VoidCoupon(code=text)), (undo, UndoCoupon(code=text))):
        with pytest.raises(CommandRefused, match="reason") as caught:
            said(shop, handler, command, reason="")
        assert caught.value.errors[0]["pointer"] == "/reason"


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [({"key": ""}, "/key"), ({"shop": "x" * 61}, "/shop"), ({"reference": "x" * 101}, "/reference"),
     ({"amount_micros": -1}, "/amount_micros")],
)  # fmt: skip
def test_what_a_till_sends_wrongly_is_named(shop: Store, wrong: dict[str, object], pointer: str):
    error = refused(shop, redeem, RedeemCoupon(**{"code": "x", "key": "a", **wrong}))
    assert (error.status, error.errors[0]["pointer"]) == (422, pointer)


def test_a_campaign_earns_what_it_sent_and_the_newest_of_the_pool_first(shop: Store):
    pool, other = new_pool(shop), new_pool(shop, "other", key=b"o" * 16)
    first = sent_with(shop, pool, "first", [1, 1, 1, Decision.OPTED_OUT], NOW_MS)
    second = sent_with(shop, pool, "second", [Decision.HOLDOUT, 1], NOW_MS + 1)
    sent_with(shop, other, "elsewhere", [1] * MEMBERS, NOW_MS + 2)
    sent_with(shop, pool, "draft", [], NOW_MS + 3)
    earned = [redeemed(shop, code(shop, pool, no))["campaign"] for no in range(5)]
    assert earned == [public_id("cmp", first), public_id("cmp", second), public_id("cmp", first), None, None]
    assert problems(shop) == []


def test_a_message_of_the_last_second_is_known_before_the_fold(shop: Store):
    pool = new_pool(shop)
    campaign = sent_with(shop, pool, "Mail", [])
    append(shop, value_of([Claim(campaign, 0, (1, SKIPPED + Decision.OPTED_OUT))], NOW_MS))
    assert redeemed(shop, code(shop, pool, 0))["campaign"] == public_id("cmp", campaign)
    assert redeemed(shop, code(shop, pool, 1))["campaign"] is None


def test_another_tenants_code_is_nobodys(shop: Store):
    new_shop(shop, "Other")
    new_member(shop, FIRST, tenant=2)
    pool = new_pool(shop)
    text = code(shop, pool, 0)
    assert why_not(shop, text, tenant=2).code == "coupon_unknown"
    theirs = new_pool(shop, tenant=2)  # the same key and member number, so the very same code
    assert code(shop, theirs, 0, tenant=2) == text
    assert redeemed(shop, text, "a", tenant=2)["pool"] == public_id("cpl", theirs)
    assert redeemed(shop, text, "a")["pool"] == public_id("cpl", pool)  # and the same key is another's
    with shop.snapshot() as view:
        for tenant, mine in ((1, pool), (2, theirs)):
            rows, _ = redemption_log(view, tenant, Wanted())
            assert [row["pool"] for row in rows] == [public_id("cpl", mine)]
    assert problems(shop) == []


def test_issue_tells_a_members_code_and_what_became_of_it(shop: Store):
    pool = new_pool(shop, stock=1)
    issued = do(shop, issue, IssueCoupon(pool=pool, member_no=3))
    assert (issued["code"], issued["state"], issued["refusal"]) == (code(shop, pool, 3), "unused", None)
    redeemed(shop, issued["code"])
    with shop.snapshot() as view:
        shown = show_coupon(view, 1, issued["code"], NOW_MS)
    assert (shown["state"], shown["refusal"], shown["redemption"]["arm"]) == ("redeemed", "coupon_redeemed", None)
    assert refused(shop, issue, IssueCoupon(pool=pool, member_no=2)).code == "out_of_stock"
    assert refused(shop, issue, IssueCoupon(pool=pool + 1, member_no=2)).code == "not_found"
    assert refused(shop, issue, IssueCoupon(pool=pool, member_no=99)).status == 404


def merged(store: Store, winner: int, loser: int) -> None:
    do(store, merge_members, MergeMembers(winner=winner, loser=loser))


def test_a_merged_person_redeems_a_pool_once_by_whichever_code(shop: Store):
    pool = new_pool(shop)
    campaign = sent_with(shop, pool, "Mail", [1] * MEMBERS)
    redeemed(shop, code(shop, pool, 1))
    merged(shop, 0, 1)  # what the loser had redeemed
    merged(shop, 2, 3)  # and what a loser redeems afterwards
    found = redeemed(shop, code(shop, pool, 3))
    assert (found["member"], found["campaign"]) == (public_member_id(2), public_id("cmp", campaign))
    merged(shop, 4, 2)
    assert [why_not(shop, code(shop, pool, no)).code for no in range(5)] == ["coupon_redeemed"] * 5
    assert problems(shop) == []


def test_a_merge_that_is_taken_back_gives_each_its_own_coupon_again(shop: Store):
    pool = new_pool(shop)
    voided(shop, code(shop, pool, 0))
    redeemed(shop, code(shop, pool, 1))
    merged(shop, 0, 1)
    assert why_not(shop, code(shop, pool, 0)).code == "coupon_redeemed"
    assert problems(shop) == []
    do(shop, unmerge_members, UnmergeMembers(member_no=1))
    assert [why_not(shop, code(shop, pool, no)).code for no in (0, 1)] == ["coupon_void", "coupon_redeemed"]
    undone(shop, code(shop, pool, 1))
    assert redeemed(shop, code(shop, pool, 1), "later")["member"] == public_member_id(1)
    assert problems(shop) == []


def test_what_one_merged_code_redeemed_the_other_takes_back(shop: Store):
    pool = new_pool(shop)
    merged(shop, 0, 1)
    redeemed(shop, code(shop, pool, 1), "a")
    undone(shop, code(shop, pool, 0))
    assert redeemed(shop, code(shop, pool, 0), "b")["state"] == "redeemed"
    assert why_not(shop, code(shop, pool, 1), "c").code == "coupon_redeemed"
    assert problems(shop) == []


def test_staff_give_a_merged_person_a_code_and_the_campaign_sent_to_the_old_number_earned_it(shop: Store):
    pool = new_pool(shop)
    campaign = sent_with(shop, pool, "Mail", [Decision.OPTED_OUT, 1])
    merged(shop, 0, 1)
    assert redeemed(shop, code(shop, pool, 0))["campaign"] == public_id("cmp", campaign)
    with shop.snapshot() as view:
        ((_, row),) = ((key, unpack(row)) for key, row in view.range("redemptions"))
    assert (row["member_no"], row["sent_to"]) == (0, 1)


def test_an_erased_member_leaves_a_redemption_of_nobody(shop: Store):
    pool = new_pool(shop)
    sent_with(shop, pool, "Mail", [1] * MEMBERS)
    texts = [code(shop, pool, no) for no in range(2)]
    redeemed(shop, texts[0], "a", reference="table 7")
    undone(shop, texts[0])
    redeemed(shop, texts[0], "b", reference="table 8", amount_micros=9)
    redeemed(shop, texts[1], "c")
    issued = Envelope(tenant=1, actor="staff", at_ms=NOW_MS, request_key="kept for 72 h", fingerprint="x")
    with shop.begin_write() as view:
        changes, reply, _ = execute(view, IssueCoupon(pool=pool, member_no=0), issued, NOW_MS)
        view.apply(changes)
    assert reply["code"] == texts[0]
    job = EraseJob(1, do(shop, erase_member, EraseMember(member_no=0, salt=bytes(16)))["job"])
    while not job.finished:
        with shop.begin_write() as view:
            changes = job.next_slice(view, NOW_MS)
            assert changes is not None or job.finished
            view.apply(changes) if changes else None
    assert why_not(shop, texts[0]).code == "coupon_unknown"
    assert refused(shop, redeem, RedeemCoupon(code=texts[0], key="b")).code == "coupon_unknown"
    with shop.snapshot() as view:
        assert not any(texts[0] in str(unpack(row)) for _, row in view.range("requests"))
        rows = [unpack(row) for _, row in view.range("redemptions")]
        assert [row["member_no"] for row in rows] == [None, None, 1]
        assert not any("table" in str(row) or row["before"] for row in rows)
        assert (need_pool(view, 1, pool)["redeemed"], view.count("redeemed"), view.count("coupons")) == (2, 1, 1)
        shown, _ = redemption_log(view, 1, Wanted())
    assert [(row["code"], row["amount_micros"]) for row in shown] == [(texts[1], None), (None, 9), (None, None)]
    assert problems(shop) == []


def test_the_log_is_read_in_pages_and_by_what_is_asked(shop: Store):
    pool, other = new_pool(shop), new_pool(shop, "other", key=b"o" * 16)
    campaign = sent_with(shop, pool, "Mail", [1] * MEMBERS)
    for no in range(MEMBERS):
        redeemed(shop, code(shop, pool, no), shop=("Mitte", "Nord")[no % 2], at_ms=NOW_MS + no)
    redeemed(shop, code(shop, other, 0), at_ms=NOW_MS + 10)
    voided(shop, code(shop, other, 1), at_ms=NOW_MS + 11)
    undone(shop, code(shop, pool, 0))

    def log(limit: int = 50, **wanted: object) -> list[str]:
        with shop.snapshot() as view:
            found, before = redemption_log(view, 1, Wanted(**wanted), limit=limit)  # type: ignore[arg-type]
            while before is not None:
                more, before = redemption_log(view, 1, Wanted(**wanted), before=before, limit=limit)  # type: ignore[arg-type]
                found += more
        return [row["id"] for row in found]

    everything = log()
    assert log(limit=3) == everything and everything == sorted(everything, reverse=True) and len(everything) == 8
    assert [len(log(pool=pool)), len(log(pool=other)), len(log(campaign=campaign))] == [6, 2, 6]
    assert [len(log(state=state)) for state in ("redeemed", "void", "undone")] == [6, 1, 1]
    assert len(log(shop="Mitte", state="redeemed")) == 2


def test_what_does_not_add_up_is_found(shop: Store):
    pool = new_pool(shop)
    sent_with(shop, pool, "Mail", [1] * MEMBERS)
    found = redeemed(shop, code(shop, pool, 0))
    redemption = TENANT_U64.pack(1, number(found["id"]))
    breaks = {
        "says 2 redeemed, rows are 1": ("coupon_pools", TENANT_U64.pack(1, pool)),
        "is not what stands of member 0": ("coupons", COUPON_KEY.pack(1, pool, 0)),
        "`redeemed` says None": ("redeemed", redemption),
        "leads to a redeeming that is not there": ("redemptions", redemption),
    }
    for finding, (table, key) in breaks.items():
        with shop.snapshot() as view:
            kept = view.get(table, key)
        assert kept is not None
        changes = Changes()
        if table == "coupon_pools":
            changes.put(table, key, pack({**unpack(kept), "redeemed": 2}))
        else:
            changes.delete(table, key)
        shop.apply(changes)
        told = problems(shop)
        assert any(finding in line for line in told) and all(line.startswith("coupons_add_up: ") for line in told)
        changes = Changes()
        changes.put(table, key, kept)
        shop.apply(changes)
    assert problems(shop) == []


def test_two_who_had_both_redeemed_and_are_one_by_now_redeem_no_third_time(shop: Store):
    pool = new_pool(shop)
    for no in (0, 1):
        redeemed(shop, code(shop, pool, no))
    merged(shop, 0, 1)
    undone(shop, code(shop, pool, 0))
    assert [why_not(shop, code(shop, pool, no)).code for no in (0, 1)] == ["coupon_redeemed"] * 2
    do(shop, unmerge_members, UnmergeMembers(member_no=1))
    assert redeemed(shop, code(shop, pool, 0), "again")["state"] == "redeemed"
    assert why_not(shop, code(shop, pool, 1), "too").code == "coupon_redeemed"
    assert problems(shop) == []
