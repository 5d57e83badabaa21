"""Intervals against published values, effects counted from the ledger, and who wins."""

from __future__ import annotations

import pytest

from dispatcher.campaigns.arms import arms_of, deal
from dispatcher.campaigns.campaign import create_campaign, load, save
from dispatcher.campaigns.effect import effect, newcombe, wilson
from dispatcher.campaigns.life import pause_campaign
from dispatcher.campaigns.winner import choose_winner, decide, due_ms, leading
from dispatcher.control.commands import ChooseWinner, CreateCampaign, PauseCampaign
from dispatcher.fastmatch import BITMAP_OCTETS, slots_of
from dispatcher.records.changes import Changes
from dispatcher.records.keys import new_id, parse_public_id, public_id
from dispatcher.records.states import Decision, State
from dispatcher.store.layout import BLOCK, LEDGER_KEY
from dispatcher.store.replies import put_reply
from tests.campaigns.log import ACCEPTED, RECEIPT, claim, log, log_begins, record
from tests.coupons.tills import code, new_pool, redeemed
from tests.fakes.shop import NOW_MS, do, refused
from tests.segments.crowd import new_crowd, settle

Z = 1.959964
PEOPLE = BLOCK + 1_000
TWO = [{"name": "A", "share": 50, "text": "Hi"}, {"name": "B", "share": 50, "text": "Bye"}]

# Newcombe, Statistics in Medicine 17 (1998): 857-872, table I (method 3), and 873-890, table II (method 10)
WILSON = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
NEWCOMBE = [
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (6, 7, 2, 7, 0.0582, 0.8062),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
    (0, 10, 0, 10, -0.2775, 0.2775),
    (10, 10, 0, 20, 0.6791, 1.0),
    (10, 10, 0, 10, 0.6075, 1.0),
]


@pytest.mark.parametrize(("many", "of", "low", "high"), WILSON)
def test_the_interval_of_a_rate_is_the_published_one(many, of, low, high):
    assert wilson(many, of, Z) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("many", "of", "many2", "of2", "low", "high"), NEWCOMBE)
def test_the_interval_of_a_difference_is_the_published_one(many, of, many2, of2, low, high):
    assert newcombe(many, of, many2, of2, Z) == pytest.approx((low, high), abs=6e-5)


def test_nobody_leaves_everything_open():
    assert (wilson(0, 0, Z), newcombe(0, 0, 1, 5, Z)) == ((0.0, 1.0), (-1.0, 1.0))


@pytest.fixture
def crowd(store):
    tenant = new_crowd(store)
    people = {no: {"phone": 4915100000000 + no, "live": True, "visits": no % 5} for no in range(PEOPLE)}
    settle(store, tenant, people, {}, PEOPLE)
    return store


def running(store, **parts) -> int:
    """A campaign in mid-send whose audience is everybody, dealt; without the preview's help."""
    shown = do(store, create_campaign, CreateCampaign(title="Spring", text="Hi", sender="SHOP", **parts))
    campaign = parse_public_id("cmp", shown["id"])
    log_begins(store, campaign)
    blocks = [
        (0, 0, bytearray(b"\xff" * BITMAP_OCTETS)),
        (1, BLOCK, bytearray(b"\xff" * 125 + bytes(BITMAP_OCTETS - 125))),
    ]
    with store.begin_write() as view:
        row = load(view, 1, campaign)
        dealt = deal(view, 1, row, blocks)
        row |= {"state": "running", "started_ms": NOW_MS, "audience": PEOPLE, "deal": dealt.row if dealt else None}
        changes = save(1, campaign, row)
        ranks = Changes()
        for block, _, bits in blocks:
            ranks.put("bitmaps", LEDGER_KEY.pack(campaign, 0, block), bits)
        ranks.put("bitmaps", LEDGER_KEY.pack(campaign, 2, 0), b"".join(
            block.to_bytes(4, "little") + base.to_bytes(4, "little") for block, base, _ in blocks
        ))  # fmt: skip
        changes.merge(ranks)
        view.apply(changes)
    return campaign


def sent(store, campaign: int, delivered_of) -> list[int]:
    """Everybody who is not held out or waiting is sent to; delivered where delivered_of(group, nth of it) says so."""
    with store.snapshot() as view:
        row = load(view, 1, campaign)
        arms = arms_of(row, campaign)
        groups = [0] * PEOPLE
        for block in (0, 1):
            bits = view.get("bitmaps", LEDGER_KEY.pack(campaign, 0, block))
            for group, mine in enumerate(arms.groups(view, block, bits)):
                for slot in slots_of(mine):
                    groups[block * BLOCK + slot] = group
    nth = [0] * 4
    claims, receipts = [], []
    for rank, group in enumerate(groups):
        if group == 3:
            continue
        claims.append(claim(rank, [Decision.HOLDOUT if group == 0 else 1]))
        if group and delivered_of(group, nth[group]):
            receipts += [record(ACCEPTED, rank, message_id=b"x"), record(RECEIPT, rank, state=State.DELIVERED)]
        nth[group] += 1
    log(store, campaign, NOW_MS + 1_000, *claims)
    log(store, campaign, NOW_MS + 2_000, *receipts)
    return groups


def test_the_effect_counts_every_group_from_the_ledger_and_compares_it(crowd):
    campaign = running(crowd, arms=TWO, holdout={"percent": 10})
    groups = sent(crowd, campaign, lambda group, nth: nth % 2 == 0 if group == 1 else nth % 4 == 0)
    with crowd.snapshot() as view:
        found = effect(view, 1, campaign, load(view, 1, campaign), NOW_MS + 5_000, goal="visits >= 4")
    by = {group["group"]: group for group in found["groups"]}
    assert list(by) == ["holdout", "A", "B"]
    assert [by[name]["members"] for name in by] == [1732, 7794, 7794]
    assert (by["holdout"]["sent"], by["holdout"]["base"], by["holdout"]["skipped"]) == (0, 1732, {"holdout": 1732})
    assert by["A"]["rates"]["delivered"]["count"] == 3897
    assert by["A"]["states"] == {"claimed": 3897, "delivered": 3897}
    visitors = sum(1 for no, group in enumerate(groups) if group == 2 and no % 5 == 4)
    assert by["B"]["rates"]["goal"]["count"] == visitors
    compared = {(one["group"], one["against"], one["measure"]): one for one in found["differences"]}
    assert ("A", "holdout", "delivered") not in compared, "nothing can be delivered to whom nothing was sent"
    assert not compared["A", "holdout", "goal"]["clear"]
    lead = compared["B", "A", "delivered"]
    assert lead["clear"]
    assert lead["difference"] == pytest.approx(-0.25, abs=1e-3)
    assert lead["extra"] == -1948


def test_a_campaign_of_one_text_has_one_group(crowd):
    campaign = running(crowd)
    log(crowd, campaign, NOW_MS, claim(0, [1, 1, Decision.OPTED_OUT]))
    with crowd.snapshot() as view:
        found = effect(view, 1, campaign, load(view, 1, campaign), NOW_MS)
    (all_,) = found["groups"]
    assert (all_["group"], all_["sent"], all_["undecided"], all_["skipped"]) == ("all", 2, PEOPLE - 3, {"opted_out": 1})
    assert found["differences"] == []


TEST = {"by": "delivered", "after_s": 3600, "test_percent": 50}


def test_the_rule_takes_the_greatest_rate_and_says_whether_the_lead_is_clear(crowd):
    campaign = running(crowd, arms=TWO, winner=TEST)
    with crowd.snapshot() as view:
        row = load(view, 1, campaign)
        assert due_ms(row) == NOW_MS + 3_600_000
        assert leading(view, 1, campaign, row, NOW_MS) is None, "nothing is sent yet"
    sent(crowd, campaign, lambda group, nth: nth % 4 == 0 if group == 1 else nth % 2 == 0)
    with crowd.begin_write() as view:
        won = leading(view, 1, campaign, load(view, 1, campaign), NOW_MS)
        assert (won["arm"], won["clear"], [one["count"] for one in won["rates"]]) == (1, True, [1083, 2165])
        view.apply(decide(view, 1, campaign, won, NOW_MS + 3_600_000))
        row = load(view, 1, campaign)
        assert (row["won"]["arm"], row["won"]["actor"]) == (1, "schedule")
        assert row["history"][-1]["reason"] == "arm B has won by delivered: A 25.01%, B 50.00%; the lead is clear"
        assert due_ms(row) is None
        assert not decide(view, 1, campaign, won, NOW_MS + 3_600_001)
        assert arms_of(row, campaign).won == 1


def test_a_person_may_decide_sooner_and_only_once(crowd):
    campaign = running(crowd, arms=TWO, winner=TEST)
    assert refused(crowd, choose_winner, ChooseWinner(campaign=campaign, arm="C")).code == "unknown_arm"
    do(crowd, pause_campaign, PauseCampaign(campaign=campaign))
    shown = do(crowd, choose_winner, ChooseWinner(campaign=campaign, arm="A"))
    assert (shown["won"]["arm"], shown["won"]["by"], shown["won"]["actor"]) == ("A", "hand", "test")
    assert do(crowd, choose_winner, ChooseWinner(campaign=campaign, arm="A"))["version"] == shown["version"]
    refusal = refused(crowd, choose_winner, ChooseWinner(campaign=campaign, arm="B"))
    assert (refusal.status, refusal.code) == (409, "state_conflict")
    other = running(crowd, arms=TWO)
    assert "no test" in refused(crowd, choose_winner, ChooseWinner(campaign=other, arm="A")).detail


def test_replies_decide_where_the_rule_says_so(crowd):
    campaign = running(crowd, arms=TWO, winner={**TEST, "by": "replied"})
    groups = sent(crowd, campaign, lambda group, nth: False)
    changes = Changes()
    writers = [rank for rank, group in enumerate(groups) if group == 2][:30]
    writers += [rank for rank, group in enumerate(groups) if group == 1][:3]
    for at, member_no in enumerate(writers):
        at_ms = NOW_MS + 60_000 + at
        put_reply(changes, 1, new_id(at_ms, 0), member_no, at_ms, "yes")
    crowd.apply(changes)
    with crowd.snapshot() as view:
        won = leading(view, 1, campaign, load(view, 1, campaign), NOW_MS + 3_600_000)
    assert (won["arm"], won["by"], won["clear"], [one["count"] for one in won["rates"]]) == (
        1,
        "replied",
        True,
        [3, 30],
    )


def test_redemptions_decide_where_the_rule_says_so_and_are_measured_of_what_was_sent(crowd):
    pool = new_pool(crowd)
    campaign = running(
        crowd, arms=TWO, winner={**TEST, "by": "redeemed"}, holdout={"percent": 10},
        coupon_pool=public_id("cpl", pool),
    )  # fmt: skip
    groups = sent(crowd, campaign, lambda group, nth: False)
    with crowd.snapshot() as view:
        none = effect(view, 1, campaign, load(view, 1, campaign), NOW_MS)
    assert [group["rates"]["redeemed"]["count"] for group in none["groups"] if group["sent"]] == [0, 0]
    for group, many in ((0, 2), (1, 3), (2, 30)):
        for rank in [rank for rank, of in enumerate(groups) if of == group][:many]:
            found = redeemed(crowd, code(crowd, pool, rank), at_ms=NOW_MS + 60_000)
            assert (found["campaign"], found["arm"]) == (
                (public_id("cmp", campaign), "AB"[group - 1]) if group else (None, None)
            )
    with crowd.snapshot() as view:
        row = load(view, 1, campaign)
        won = leading(view, 1, campaign, row, NOW_MS + 3_600_000)
        measured = effect(view, 1, campaign, row, NOW_MS + 3_600_000)
    assert (won["arm"], won["by"], won["clear"], [one["count"] for one in won["rates"]]) == (
        1, "redeemed", True, [3, 30],
    )  # fmt: skip
    compared = {(one["group"], one["against"]): one for one in measured["differences"] if one["measure"] == "redeemed"}
    assert list(compared) == [("B", "A")], "who was held out got no code"
    assert compared["B", "A"]["clear"] and compared["B", "A"]["lift"] == pytest.approx(9.0, abs=0.01)


def test_a_test_that_guards_skipped_whole_does_not_wait_for_ever(crowd):
    campaign = running(crowd, arms=TWO, winner=TEST)
    log(crowd, campaign, NOW_MS, claim(0, [Decision.OPTED_OUT] * PEOPLE))
    with crowd.snapshot() as view:
        won = leading(view, 1, campaign, load(view, 1, campaign), NOW_MS)
    assert (won["arm"], won["clear"], [one["of"] for one in won["rates"]]) == (0, False, [0, 0])
