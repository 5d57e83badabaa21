"""verify finds nothing in a campaign that was really sent, and each kind of damage to audience, ledger and log."""

from __future__ import annotations

import struct

import pytest

from dispatcher.campaigns.campaign import create_campaign, edit_campaign, mark
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import (
    CreateCampaign,
    EditCampaign,
    PreviewCampaign,
    SnapshotSegment,
    StartCampaign,
)
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id, reply_batch
from dispatcher.records.states import CampaignState, Decision, State
from dispatcher.segments.snapshot import snapshot_segment
from dispatcher.store import Store, ledger
from dispatcher.store.layout import ARRAYS, HEADER, LEDGER_KEY, SNAPSHOT, TENANT_U64, U64
from dispatcher.store.values import pack, unpack
from dispatcher.store.verify import verify
from tests.campaigns.log import ACCEPTED, RECEIPT, REFUSED, RELEASED, UNCERTAIN, claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

MEMBERS = 9
AUDIENCE, RANKS = 0, 2


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    for i in range(MEMBERS):
        new_member(store, 4915100000001 + i)
    log(store, reply_batch(1), NOW_MS, claim(0, [1]), record(ACCEPTED, 0))  # a reply: no audience, no campaign
    return store


@pytest.fixture
def campaign(shop: Store) -> int:
    """Delivered, accepted in two parts, refused, uncertain, half accepted, skipped, released, two untouched."""
    made = do(shop, create_campaign, CreateCampaign(title="Autumn", text="Hello"))
    campaign = parse_public_id("cmp", made["id"])
    assert campaign is not None
    preview = do(shop, preview_campaign, PreviewCampaign(campaign=campaign))
    do(shop, start_campaign, StartCampaign(campaign=campaign, token=preview["token"]))
    log_begins(shop, campaign)
    log(shop, campaign, NOW_MS, claim(0, [1, 2, 1, 1, 2, Decision.OPTED_OUT, 1]))
    log(
        shop, campaign, NOW_MS + 5,
        record(ACCEPTED, 0, message_id=b"1"), record(RECEIPT, 0, state=State.DELIVERED),
        record(ACCEPTED, 1, part=1, message_id=b"12"), record(ACCEPTED, 1, message_id=b"11"),
        record(REFUSED, 2, status=0x0B), record(UNCERTAIN, 3), record(ACCEPTED, 4, part=1, message_id=b"42"),
        record(RELEASED, 6),
    )  # fmt: skip
    assert problems(shop) == []
    return campaign


def problems(store: Store) -> list[str]:
    with store.snapshot() as view:
        return list(verify(view)["problems"])


def damage(store: Store, table: str, key: bytes, value: bytes | None) -> list[str]:
    changes = Changes()
    changes.rows[table, key] = value
    store.apply(changes)
    return problems(store)


def row_of(store: Store, table: str, key: bytes) -> bytes:
    with store.snapshot() as view:
        value = view.get(table, key)
    assert value is not None
    return value


def edit_array(store: Store, campaign: int, name: str, rank: int, value: int) -> list[str]:
    key = LEDGER_KEY.pack(campaign, ARRAYS[name][0], 0)
    octets, width = bytearray(row_of(store, "ledger", key)), ARRAYS[name][1]
    octets[HEADER + rank * width : HEADER + (rank + 1) * width] = value.to_bytes(width, "little")
    return damage(store, "ledger", key, bytes(octets))


def rules(found: list[str]) -> set[str]:
    return {each.partition(":")[0] for each in found}


@pytest.mark.parametrize("state", ["paused", "cancelled", "done"])
def test_a_campaign_is_sound_in_every_state(shop: Store, campaign: int, state: str):
    with shop.begin_write() as view:
        view.apply(mark(view, 1, campaign, CampaignState(state), NOW_MS, "test"))
    assert problems(shop) == []


def test_a_draft_edited_after_its_preview_is_sound(shop: Store, campaign: int):
    made = do(shop, create_campaign, CreateCampaign(title="Winter", text="Hello"))
    draft = parse_public_id("cmp", made["id"])
    assert draft is not None
    do(shop, preview_campaign, PreviewCampaign(campaign=draft))
    do(shop, edit_campaign, EditCampaign(campaign=draft, changes={"text": "Goodbye"}))
    assert problems(shop) == []


def test_an_audience_that_lost_or_won_a_member_is_found(shop: Store, campaign: int):
    key = LEDGER_KEY.pack(campaign, AUDIENCE, 0)
    whole = row_of(shop, "bitmaps", key)
    found = damage(shop, "bitmaps", key, bytes([whole[0] & 0x7F]) + whole[1:])
    assert any("8 members in its bitmaps, its preview counted 9" in each for each in found)
    assert any("8 members in its bitmaps, it says 9" in each for each in found)
    found = damage(shop, "bitmaps", key, whole[:1] + b"\xff" + whole[2:])
    assert any("member 15, members given are 9" in each for each in found)
    found = damage(shop, "bitmaps", key, whole[:-8])
    assert any("block 0: 2032 octets" in each for each in found)
    found = damage(shop, "bitmaps", key, None)
    assert any("0 members in its bitmaps" in each for each in found)


def test_ranks_that_do_not_count_the_audience_are_found(shop: Store, campaign: int):
    key = LEDGER_KEY.pack(campaign, RANKS, 0)
    for pairs in ([(0, 1)], [(0, 0), (1, 9)], []):
        found = damage(shop, "bitmaps", key, b"".join(struct.pack("<II", *pair) for pair in pairs))
        assert found == [
            f"audiences_are_whole: campaign {campaign}: its table of ranks is not what its bitmaps count to"
        ]


def test_what_belongs_to_no_campaign_is_found(shop: Store, campaign: int):
    found = damage(shop, "campaigns", TENANT_U64.pack(1, campaign), None)
    assert any("an audience without a campaign" in each for each in found)
    assert any("counters without a campaign" in each for each in found)
    found = damage(shop, "campaign_counts", U64.pack(campaign), None)
    assert any("a ledger without counters" in each for each in found)


def test_a_snapshot_of_a_segment_is_whole_and_what_it_lost_is_found(shop: Store):
    made = do(shop, snapshot_segment, SnapshotSegment(title="Then", expr="everyone"))
    segment = parse_public_id("seg", made["id"])
    assert problems(shop) == []
    key = LEDGER_KEY.pack(segment, SNAPSHOT, 0)
    whole = row_of(shop, "bitmaps", key)
    found = damage(shop, "bitmaps", key, bytes([whole[0] & 0x7F]) + whole[1:])
    assert found == [f"audiences_are_whole: segment {segment}: 8 members in its bitmaps, it says 9"]
    found = damage(shop, "segments", TENANT_U64.pack(1, segment), None)
    assert found == [f"audiences_are_whole: segment {segment}: members of a snapshot without a segment"]


@pytest.mark.parametrize(
    ("name", "rank", "value", "said"),
    [
        ("decision", 5, Decision.SUPPRESSED, "opted_out: counter 1, ledger 0"),
        ("decision", 6, Decision.SENT, "rank 6: sent without a state"),
        ("decision", 9, Decision.OPTED_OUT, "decided beyond the audience, 9"),
        ("state", 0, State.EXPIRED, "delivered: counter 1, ledger 0"),
        ("state", 3, State.UNSENT, "rank 3: sent without a state"),
        ("log_no", 0, 0, "accepted: counter 2, ledger 1"),
    ],
)
def test_an_array_that_was_changed_alone_is_found(
    shop: Store, campaign: int, name: str, rank: int, value: int, said: str
):
    found = edit_array(shop, campaign, name, rank, value)
    assert any(said in each for each in found), found
    assert rules(found) == {"counters_are_the_ledgers"}


@pytest.mark.parametrize("counter", [Decision.SENT, Decision.OPTED_OUT, 32 + State.DELIVERED, 32 + State.UNSENT, 48])
def test_a_counter_that_was_changed_alone_is_found(shop: Store, campaign: int, counter: int):
    counters = list(struct.unpack("<64Q", row_of(shop, "campaign_counts", U64.pack(campaign))))
    counters[counter] += 1
    found = damage(shop, "campaign_counts", U64.pack(campaign), struct.pack("<64Q", *counters))
    assert rules(found) == {"counters_are_the_ledgers"}


@pytest.mark.parametrize("octets", [b"", b"short", bytes(HEADER + 1), struct.pack("<IB3xI36x", 9, 0, 1) + bytes(9)])
def test_a_damaged_array_is_found_and_the_rest_still_looked_at(shop: Store, campaign: int, octets: bytes):
    found = damage(shop, "ledger", LEDGER_KEY.pack(campaign, ARRAYS["state"][0], 0), octets)
    assert any(f"chunk 0: {len(octets)} octets that are no array state" in each for each in found)


def test_accepted_must_lead_to_its_own_record(shop: Store, campaign: int):
    with shop.snapshot() as view:
        log_nos = ledger.read_array(view, campaign, "log_no", 0)
        assert log_nos is not None
        one = log_nos.cast("I").tolist()[1]
    found = edit_array(shop, campaign, "log_no", 0, one)
    assert any("rank 0: position" in each and "kind 2 of rank 1" in each for each in found)
    assert any("is beyond its end" in each for each in edit_array(shop, campaign, "log_no", 0, 1 << 20))
    assert any("of the log has kind" in each for each in edit_array(shop, campaign, "log_no", 0, 2))


def test_old_values_of_the_log_may_be_dropped_from_its_beginning_only(shop: Store, campaign: int):
    with shop.snapshot() as view:
        keys = [position for position, _ in ledger.log_values(view)]
    assert damage(shop, "outcome_log", U64.pack(keys[0]), None) == []
    found = damage(shop, "outcome_log", U64.pack(keys[1]), None)
    assert found == []
    log(shop, campaign, NOW_MS, record(RECEIPT, 1, state=State.DELIVERED))
    found = damage(shop, "outcome_log", U64.pack(keys[2]), None)
    assert found == []


def test_a_gap_in_the_log_and_a_value_that_is_cut_are_found(shop: Store, campaign: int):
    log(shop, campaign, NOW_MS, record(RECEIPT, 1, state=State.DELIVERED))
    with shop.snapshot() as view:
        keys = [position for position, _ in ledger.log_values(view)]
    whole = row_of(shop, "outcome_log", U64.pack(keys[1]))
    found = damage(shop, "outcome_log", U64.pack(keys[1]), None)
    assert f"the_outcome_log_is_whole: position {keys[2]}: the value before it ends at {keys[1]}" in found
    found = damage(shop, "outcome_log", U64.pack(keys[1]), whole[:-8])
    assert any("not a value of the outcome log" in each for each in found)
    found = damage(shop, "outcome_log", U64.pack(keys[1]), whole[:4] + b"\x02" + whole[5:])
    assert any("1 records, header 2" in each for each in found)


def test_a_fold_beyond_the_log_is_found(shop: Store, campaign: int):
    folded = unpack(row_of(shop, "meta", b"folded"))
    found = damage(shop, "meta", b"folded", pack({**folded, "key": folded["key"] + 10_000}))
    assert rules(found) == {"the_outcome_log_is_whole"}
