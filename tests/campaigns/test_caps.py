"""Caps over random sends, days, folds and restarts: nobody gets more in any window than a cap allows, nor fewer for
nothing."""

from collections import defaultdict
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.campaigns.arms import arms_of
from dispatcher.campaigns.campaign import create_campaign, load, save
from dispatcher.campaigns.guards import Guards
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import CreateCampaign, EditTenant, PreviewCampaign
from dispatcher.fastmatch import BITMAP_OCTETS
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision
from dispatcher.segments.caps import capped_by
from dispatcher.store import Store, open_store
from dispatcher.store.layout import LEDGER_KEY
from dispatcher.tenants.edit import edit_tenant
from dispatcher.tenants.profile import Cap
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

MEMBERS = 12
DAY_MS = 86_400_000
CAPS = [{"group": "marketing", "max": 2, "within_s": 7 * 86_400}, {"group": "marketing", "max": 1, "within_s": 3_600}]


def shop(store: Store, caps: list[dict[str, Any]] = CAPS) -> None:
    new_shop(store)
    for i in range(MEMBERS):
        new_member(store, 4915100000001 + i)
    do(store, edit_tenant, EditTenant(changes={"caps": caps}))


def started(store: Store, at_ms: int, purpose: str = "marketing", **parts: Any) -> int:
    """A campaign to everybody that runs from `at_ms` on."""
    command = CreateCampaign(title="Sale", text="Hi", sender="SHOP", purpose=purpose, **parts)
    campaign = parse_public_id("cmp", do(store, create_campaign, command, at_ms=at_ms)["id"])
    do(store, preview_campaign, PreviewCampaign(campaign=campaign), at_ms=at_ms)
    with store.begin_write() as view:
        row = load(view, 1, campaign)
        row |= {"state": "running", "started_ms": at_ms}
        view.apply(save(1, campaign, row))
    return campaign


def fold(store: Store, campaign: int, sent: dict[int, int]) -> None:
    """The ledger as it is once the claims of {member_no: at_ms} are folded."""
    with store.begin_write() as view:
        decisions, times = bytearray(1_024), bytearray(4_096)
        for member_no, at_ms in sent.items():
            decisions[member_no] = Decision.SENT
            times[4 * member_no : 4 * member_no + 4] = (at_ms // 1000).to_bytes(4, "little")
        for array, width, octets in ((0, 1, decisions), (5, 4, times)):
            header = (1_024).to_bytes(4, "little") + bytes([array, 0, 0, 0]) + width.to_bytes(4, "little")
            view.txn.put(
                LEDGER_KEY.pack(campaign, array, 0), header.ljust(48, b"\0") + octets, db=view.tables["ledger"]
            )


def bits(members) -> bytes:
    return sum(1 << member for member in members).to_bytes(BITMAP_OCTETS, "little")


def members_in(bitmap: bytes) -> set[int]:
    word = int.from_bytes(bitmap, "little")
    return {member for member in range(MEMBERS) if word >> member & 1}


def guards(store: Store, campaign: int) -> Guards:
    with store.snapshot() as view:
        return Guards(view, 1, load(view, 1, campaign), campaign)


def asked(store: Store, of: Guards, members, now_ms: int) -> tuple[set[int], dict[int, Decision]]:
    """(who may go, who is skipped and why)."""
    with store.snapshot() as view:
        verdict = of.of_block(view, 0, bits(members), now_ms)
    skipped = {member: decision for decision, who in verdict.skips for member in members_in(who)}
    return members_in(verdict.clear), skipped


def claim(store: Store, of: Guards, members, now_ms: int) -> None:
    with store.snapshot() as view:
        of.claimed(view, 0, bits(members), now_ms)


steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "claim", "fold", "restart", "wait", "close"]),
        st.integers(0, 2),  # of the campaigns that run
        st.sets(st.integers(0, MEMBERS - 1), min_size=1),
        st.sampled_from([0, 500, 59_000, 3_599_000, 3_600_000, DAY_MS, 5 * DAY_MS]),
    ),
    min_size=3,
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_no_window_ever_holds_more_than_a_cap_and_nobody_is_skipped_below_it(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("caps")
    store = open_store(folder, write=True, create=True)
    shop(store)
    now = NOW_MS
    running = [started(store, now + i) for i in range(3)]
    of = {campaign: guards(store, campaign) for campaign in running}
    sent: dict[int, dict[int, int]] = defaultdict(dict)  # campaign -> member -> when
    folded: dict[int, dict[int, int]] = defaultdict(dict)
    held: dict[int, set[int]] = defaultdict(set)  # let pass and not claimed yet
    try:
        for what, which, members, gap_ms in steps:
            campaign = running[which]
            if what == "wait":
                now += gap_ms
            elif what == "fold":
                folded[campaign] = dict(sent[campaign])
                fold(store, campaign, folded[campaign])
            elif what == "close":
                of[campaign].close()
                held[campaign].clear()
            elif what == "restart":  # a start folds the whole log first
                for one in running:
                    folded[one] = dict(sent[one])
                    fold(store, one, folded[one])
                store.close()
                store = open_store(folder, write=True)
                of = {one: guards(store, one) for one in running}
                held.clear()
            else:
                todo = members - sent[campaign].keys()
                clear, skipped = asked(store, of[campaign], todo, now)
                assert clear | skipped.keys() == todo
                for member in skipped:
                    # what is not folded yet counts as of now: a fold is a second away, not days as here
                    times = [
                        at[member] if member in folded[one] else now
                        for one, at in sent.items()
                        if one != campaign and member in at
                    ]
                    times += [now for one, who in held.items() if one != campaign and member in who]
                    assert any(
                        len([t for t in times if t > now - 1000 * (cap["within_s"] + 1)]) >= cap["max"] for cap in CAPS
                    )
                some = {member for member in clear if (member + which) % 3 or gap_ms}
                claim(store, of[campaign], some, now)
                sent[campaign] |= dict.fromkeys(some, now)
                held[campaign] = clear - some
            for member in range(MEMBERS):
                times = sorted(at[member] for at in sent.values() if member in at)
                for cap in CAPS:
                    for last in times:
                        window = [t for t in times if last - 1000 * cap["within_s"] < t <= last]
                        assert len(window) <= cap["max"], (member, cap, times)
    finally:
        store.close()


def test_two_campaigns_at_once_never_pass_one_cap_together(store):
    shop(store, [{"group": "marketing", "max": 1, "within_s": 86_400}])
    first, second = started(store, NOW_MS), started(store, NOW_MS + 1)
    one, two = guards(store, first), guards(store, second)
    assert asked(store, one, {0, 1, 2}, NOW_MS)[0] == {0, 1, 2}
    assert asked(store, two, {0, 1, 2, 3}, NOW_MS) == ({3}, dict.fromkeys([0, 1, 2], Decision.FREQUENCY_CAP))
    assert asked(store, one, {0, 1, 2, 3}, NOW_MS)[0] == {0, 1, 2}, "its own reservation is no reason, the other's is"
    claim(store, one, {0}, NOW_MS)
    one.close()
    assert asked(store, two, {0, 1, 2, 3}, NOW_MS)[0] == {1, 2, 3}, "what was not claimed is free again"
    fold(store, first, {0: NOW_MS})
    assert asked(store, two, {0}, NOW_MS)[0] == set()
    assert asked(store, two, {0}, NOW_MS + 86_401_000)[0] == {0}, "a day later it is forgotten"


def test_the_held_out_of_one_campaign_are_free_for_another(store):
    shop(store, [{"group": "marketing", "max": 1, "within_s": 86_400}])
    first, second = started(store, NOW_MS, holdout={"size": 4}), started(store, NOW_MS + 1)
    one, two = guards(store, first), guards(store, second)
    asked(store, one, set(range(MEMBERS)), NOW_MS)
    free, _ = asked(store, two, set(range(MEMBERS)), NOW_MS)
    with store.snapshot() as view:
        held = arms_of(load(view, 1, first), first).split(view, 1, 0, bits(range(MEMBERS))).holdout
    assert free == members_in(held) and len(free) == 4


def test_what_the_ledger_shows_as_withdrawn_does_not_count(store):
    shop(store, [{"group": "marketing", "max": 1, "within_s": 86_400}])
    first, second = started(store, NOW_MS), started(store, NOW_MS + 1)
    one, two = guards(store, first), guards(store, second)
    asked(store, one, {0}, NOW_MS)
    claim(store, one, {0}, NOW_MS)
    with store.begin_write() as view:  # it said STOP before it left
        header = (1_024).to_bytes(4, "little") + bytes(4) + (1).to_bytes(4, "little")
        octets = header.ljust(48, b"\0") + bytes([Decision.OPTED_OUT]) + bytes(1_023)
        view.txn.put(LEDGER_KEY.pack(first, 0, 0), octets, db=view.tables["ledger"])
    assert asked(store, two, {0}, NOW_MS)[0] == {0}


def test_only_messages_of_the_same_group_count(store):
    shop(store, [{"group": "marketing", "max": 1, "within_s": 86_400}])
    care, second = started(store, NOW_MS, "care"), started(store, NOW_MS + 1)
    fold(store, care, {0: NOW_MS})
    assert asked(store, guards(store, second), {0}, NOW_MS)[0] == {0}
    assert guards(store, care).idle, "nothing caps care here"


def test_a_cap_of_none_lets_nobody_pass(store):
    shop(store, [{"group": "marketing", "max": 0, "within_s": 60}])
    assert asked(store, guards(store, started(store, NOW_MS)), {0, 5}, NOW_MS)[0] == set()


def test_a_person_who_is_capped_is_told_by_what_and_until_when(store):
    shop(store)
    first, second = started(store, NOW_MS), started(store, NOW_MS + 1)
    fold(store, first, {3: NOW_MS})
    fold(store, second, {3: NOW_MS + DAY_MS})
    caps = [Cap(**cap) for cap in CAPS]
    with store.snapshot() as view:
        said = capped_by(view, 1, caps, 3, NOW_MS + 2 * DAY_MS)
        assert said["cap"] == "2 marketing in 7 days"
        assert [one["title"] for one in said["by"]] == ["Sale", "Sale"]
        assert said["until"] == "2026-09-28T13:33:20Z" or said["until"].startswith("2026-09-28")
        assert capped_by(view, 1, caps, 4, NOW_MS + 2 * DAY_MS) is None
        assert capped_by(view, 1, caps, 3, NOW_MS + 2 * DAY_MS, campaign=second) is None
