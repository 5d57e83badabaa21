"""Arms and holdout: exact sizes, the same for ever, and what is said of shares that do not add up."""

from __future__ import annotations

from array import array
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.campaigns import _arms as kernel
from dispatcher.campaigns import arms
from dispatcher.campaigns.arms import EVERYBODY, arms_of, deal, put_deal, sizes_of, spread
from dispatcher.campaigns.campaign import LATER, create_campaign, edit_campaign, load
from dispatcher.control.commands import CreateCampaign, EditCampaign
from dispatcher.fastmatch import BITMAP_OCTETS, slots_of
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id
from dispatcher.store.layout import BLOCK
from tests.fakes.shop import NOW_MS, do, refused
from tests.reference import arms as reference
from tests.segments.crowd import TIERS, new_crowd, settle

TWO = [{"name": "A", "share": 50, "text": "Hi {name|you}"}, {"name": "B", "share": 50, "text": "Bye"}]


def row_of(**parts):
    return {**LATER, "text": "Hi", "created_ms": NOW_MS, "ref_seed": 7, "due_ms": None, **parts}


def blocks_of(members):
    found = {}
    for no in members:
        bits = found.setdefault(no // BLOCK, bytearray(BITMAP_OCTETS))
        bits[no % BLOCK >> 3] |= 1 << (no % BLOCK & 7)
    base, blocks = 0, []
    for block, bits in sorted(found.items()):
        blocks.append((block, base, bits))
        base += sum(map(int.bit_count, bits))
    return blocks


def members_in(groups, block):
    return {block * BLOCK + slot: group for group, bits in enumerate(groups) for slot in slots_of(bits)}


def dealt_to(view, row, blocks, campaign=5):
    mine = arms_of(row, campaign)
    found = {}
    for block, _, bits in blocks:
        found |= members_in(mine.groups(view, block, bits), block)
    return found


members_ = st.sets(st.integers(0, 3 * BLOCK), min_size=2, max_size=300).map(sorted)


@settings(max_examples=60, deadline=None)
@given(
    members=members_,
    shares=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    held=st.integers(0, 90),
    test=st.one_of(st.none(), st.integers(1, 99)),
)
def test_a_deal_has_exact_sizes_and_is_what_sorting_everybody_would_give(members, shares, held, test):
    total = sum(shares)
    shares = [Fraction(share * 100, total) for share in shares]
    percents = [float(round(share, 2)) for share in shares[:-1]]
    percents.append(round(100 - sum(percents), 2))
    row = row_of(
        arms=[{"name": f"A{i}", "share": p, "text": "x"} for i, p in enumerate(percents)],
        holdout={"percent": held} if held else None,
        winner={"by": "replied", "after_s": 60, "test_percent": test} if test and len(shares) > 1 else None,
    )
    blocks = blocks_of(members)
    try:
        row["deal"] = deal(None, 1, row, blocks).row
    except arms.CommandRefused as exc:
        assert exc.code == "holdout_too_large"
        return
    sizes = row["deal"]["sizes"]
    assert sum(sizes) == len(members)
    found = dealt_to(None, row, blocks)
    assert [list(found.values()).count(group) for group in range(len(sizes))] == sizes
    assert found == reference.dealt(members, sizes, row["deal"]["held_seed"], row["deal"]["seed"])


@settings(max_examples=60, deadline=None)
@given(
    members=members_,
    seeds=st.tuples(st.integers(0, EVERYBODY), st.integers(0, EVERYBODY)),
    bounds=st.lists(st.tuples(*[st.integers(0, EVERYBODY)] * 4), min_size=1, max_size=3),
    codes=st.binary(min_size=64, max_size=3 * BLOCK),
    width=st.sampled_from([0, 1, 2]),
)
def test_compiled_and_reference_split_alike(members, seeds, bounds, codes, width):
    bounds = [[held, *sorted(rest)] for held, *rest in bounds]
    kept = kernel.Deal(*seeds, len(bounds), array("Q", [bound for one in bounds for bound in one]))
    for block, _, bits in blocks_of(members):
        out = bytearray(BITMAP_OCTETS * 5)
        kept.split(bits, block * BLOCK, out, codes, width)
        groups = [out[BITMAP_OCTETS * i : BITMAP_OCTETS * (i + 1)] for i in range(5)]
        expected = {}
        for no in (no for no in members if no // BLOCK == block):
            slot = no % BLOCK
            piece = codes[width * slot : width * (slot + 1)]
            code = int.from_bytes(piece, "little") if width and len(piece) == width else 0
            stratum = code if code < len(bounds) else 0
            expected[no] = reference.group_of(no, *seeds, bounds[stratum])
        assert members_in(groups, block) == expected


@settings(max_examples=100, deadline=None)
@given(
    strata=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 100), min_size=1, max_size=6),
)
def test_a_spread_over_strata_is_exact_both_ways_and_fair_to_a_member_or_two(strata, cuts):
    total = sum(strata)
    edges = [0, *sorted(cut * total // 100 for cut in cuts), total]
    sizes = [b - a for a, b in pairwise(edges)]
    found = spread(sizes, strata)
    assert [sum(row) for row in found] == strata
    assert [sum(column) for column in zip(*found, strict=True)] == sizes
    for row, many in zip(found, strata, strict=True):
        for cell, size in zip(row, sizes, strict=True):
            assert abs(cell - Fraction(size * many, total or 1)) < 2, (found, sizes, strata)


@settings(max_examples=40, deadline=None)
@given(members=members_, draw=st.randoms(use_true_random=False))
def test_compiled_and_reference_count_alike(members, draw):
    members = [no for no in members if no < BLOCK]
    chosen = {no for no in members if draw.random() < 0.5}
    known = draw.randrange(len(members) + 1)
    decisions = bytes(draw.choice([0, 1, 1, 20, 24]) for _ in range(known))
    states = bytes(draw.choice([1, 3, 4, 6]) for _ in range(known))
    audience, mine = ([b for _, _, b in blocks_of(some)] or [bytes(BITMAP_OCTETS)] for some in (members, chosen))
    counts = array("Q", bytes(8 * 128))
    kernel.count(audience[0], mine[0], decisions, states, counts)
    of_decision, of_state = reference.counted(members, chosen, decisions, states)
    assert {d: n for d, n in enumerate(counts[:64]) if n} == of_decision
    assert {s: n for s, n in enumerate(counts[64:]) if n} == of_state
    out = bytearray(BITMAP_OCTETS)
    assert kernel.pick(audience[0], decisions, 1, out) == sum(d == 1 for d in decisions)
    assert slots_of(out) == [no for no, d in zip(members, decisions, strict=False) if d == 1]


@pytest.fixture
def crowd(store):
    tenant = new_crowd(store)
    people = {
        no: {"phone": 4915100000000 + no, "live": True, "tier": TIERS[no % 7 == 0]} if no % 11 else
        {"phone": 4915100000000 + no, "live": True} for no in range(BLOCK + 4_000)
    }  # fmt: skip
    settle(store, tenant, people, {}, BLOCK + 4_000)
    return store


def test_a_stratified_deal_gives_each_value_its_shares_and_keeps_them_when_values_change(crowd):
    row = row_of(arms=TWO, holdout={"percent": 10}, stratify="tier")
    everybody = range(BLOCK + 4_000)
    blocks = blocks_of(everybody)
    with crowd.begin_write() as view:
        dealt = deal(view, 1, row, blocks)
        changes = Changes()
        put_deal(changes, 5, dealt)
        view.apply(changes)
    row["deal"] = dealt.row
    assert dealt.row["sizes"] == [2032, 9144, 9144, 0]
    with crowd.snapshot() as view:
        found = dealt_to(view, row, blocks)
        assert all(arms_of(row, 5).group_of(view, no) == found[no] for no in range(0, BLOCK + 4_000, 977))
    assert [list(found.values()).count(group) for group in range(4)] == [2032, 9144, 9144, 0]
    for value in (0, 1, 2):
        mine = [found[no] for no in everybody if (0 if no % 11 == 0 else 2 if no % 7 == 0 else 1) == value]
        assert abs(mine.count(0) - len(mine) / 10) < 2
        assert abs(mine.count(1) - len(mine) * 0.45) < 2
    settle(crowd, 1, {no: {"phone": 4915100000000 + no, "live": True} for no in everybody}, {}, BLOCK + 4_000)
    with crowd.snapshot() as view:
        assert dealt_to(view, row, blocks) == found, "a field's new value moves nobody"


def test_the_rest_waits_for_the_winner_and_then_gets_its_text():
    blocks = blocks_of(range(0, 5_000, 3))
    row = row_of(arms=TWO, winner={"by": "replied", "after_s": 60, "test_percent": 20})
    row["deal"] = deal(None, 1, row, blocks).row
    (block, _, bits) = blocks[0]
    before = arms_of(row, 5).split(None, 1, block, bits)
    assert before.holdout is None
    assert [len(slots_of(one)) for one in (*before.arms, before.waits)] == [167, 166, 1334]
    row["won"] = {"arm": 1, "at_ms": NOW_MS}
    after = arms_of(row, 5).split(None, 1, block, bits)
    assert after.waits is None
    assert [len(slots_of(one)) for one in after.arms] == [167, 1500]
    assert arms_of(row, 5).texts == ["Hi {name|you}", "Bye"]


def test_campaigns_with_the_same_salt_hold_back_the_same_people():
    blocks = blocks_of(range(3_000))
    rows = [row_of(created_ms=NOW_MS + i, holdout={"size": 100, "salt": "2026"}) for i in range(2)]
    rows.append(row_of(created_ms=NOW_MS, holdout={"size": 100}))
    held = []
    for row in rows:
        row["deal"] = deal(None, 1, row, blocks).row
        held.append(slots_of(arms_of(row, 5).split(None, 1, 0, blocks[0][2]).holdout))
    assert held[0] == held[1] != held[2]
    assert [len(one) for one in held] == [100] * 3


def test_a_campaign_of_one_text_is_not_dealt():
    assert deal(None, 1, row_of(), []) is None
    assert arms_of(row_of(), 5) is None


def test_a_holdout_of_everybody_is_refused():
    with pytest.raises(arms.CommandRefused, match="leaves nobody of the 5 who are matched"):
        sizes_of(row_of(holdout={"size": 5}), 5)


WRONG = [
    ({"arms": [{"name": "A", "share": 50}, {"name": "B", "share": 40}]}, "arm_shares", "A 50 + B 40 = 90"),
    ({"arms": [{"name": "A", "share": 0}]}, "arm_shares", "a percentage above 0"),
    ({"arms": [{"name": "A", "share": 33.333}, {"name": "B", "share": 66.667}]}, "arm_shares", "at most 2 decimals"),
    ({"arms": [{"name": "A", "share": 50}, {"name": "a", "share": 50}]}, "invalid_campaign", "is there already"),
    ({"arms": [{"name": "rest", "share": 100}]}, "invalid_campaign", "used by reports"),
    ({"arms": [{"name": "A", "share": 100, "txt": "x"}]}, "invalid_campaign", "'txt'"),
    ({"arms": [{"name": "A", "share": 100, "text": "{nam}"}]}, "unknown_field", "nam"),
    ({"holdout": {"percent": 10, "size": 5}}, "invalid_campaign", "either percent or size"),
    ({"holdout": {"percent": 100}}, "invalid_campaign", "below 100"),
    ({"winner": {"by": "delivered", "after_s": 3600, "test_percent": 20}}, "invalid_campaign", "two arms"),
    (
        {"arms": TWO, "winner": {"by": "redeemed", "after_s": 3600, "test_percent": 20}},
        "coupon_pool_missing",
        "name a coupon_pool",
    ),
    ({"arms": TWO, "winner": {"by": "delivered", "after_s": 5, "test_percent": 20}}, "invalid_campaign", "60 to"),
    (
        {"arms": TWO, "receipts": False, "winner": {"by": "delivered", "after_s": 60, "test_percent": 20}},
        "invalid_campaign",
        "needs receipts",
    ),
    ({"arms": TWO, "stratify": "visits"}, "invalid_campaign", "of kind int"),
    ({"arms": TWO, "stratify": "shoe"}, "unknown_field", "tier"),
    ({"stratify": "tier"}, "invalid_campaign", "goes with arms"),
]


@pytest.mark.parametrize(("parts", "code", "said"), WRONG)
def test_what_cannot_be_dealt_is_refused_with_the_rule_and_what_was_written(crowd, parts, code, said):
    refusal = refused(crowd, create_campaign, CreateCampaign(title="Spring", text="Hi", **parts))
    assert (refusal.status, refusal.code) == (422, code), refusal
    assert said in refusal.detail
    assert all(error["pointer"].startswith("/") for error in refusal.errors)


def test_arms_are_kept_shown_and_edited(crowd):
    shown = do(crowd, create_campaign, CreateCampaign(title="Spring", arms=TWO, holdout={"percent": 2.5}))
    assert [arm["name"] for arm in shown["arms"]] == ["A", "B"]
    assert (shown["holdout"], shown["groups"], shown["won"]) == ({"percent": 2.5}, None, None)
    campaign = parse_public_id("cmp", shown["id"])
    edited = do(crowd, edit_campaign, EditCampaign(campaign=campaign, changes={"holdout": None, "arms": []}))
    assert (edited["arms"], edited["holdout"]) == ([], None)
    with crowd.snapshot() as view:
        assert load(view, 1, campaign)["deal"] is None
