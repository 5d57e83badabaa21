"""The audience, lazily: everybody once, whatever the room; a restart takes exactly the undecided; repeats of parts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dispatcher.campaigns.campaign import create_campaign, load
from dispatcher.campaigns.expand import Expansion, members_of_ranks
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.repeats import Repeat
from dispatcher.control.commands import CreateCampaign, PreviewCampaign, StartCampaign, UpsertMember
from dispatcher.members.member import upsert_member
from dispatcher.records.batch import Row, octets_of, read_rows
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision
from dispatcher.smpp.pump import Kind
from dispatcher.store.layout import BLOCK
from tests.fakes.shop import do
from tests.segments.crowd import new_crowd, settle
from tests.store.logs import Claim, Record, append, fold_all, value_of

PHONE = 4915100000000
MEMBERS = 2 * BLOCK + 500
STEP = 3  # every third member is in the audience, so that ranks and blocks do not fall together
AUDIENCE = range(0, MEMBERS, STEP)
LONG = "word " * 40  # two parts


@pytest.fixture(scope="module")
def people() -> dict[int, dict[str, Any]]:
    draw = random.Random(5)
    return {
        no: {
            "name": "Ann" if draw.random() < 0.9 else LONG[:40],
            "points": 7,
            "phone": 0 if draw.random() < 0.02 else PHONE + no,
            "live": True,
            "tier": "gold" if no % STEP == 0 else "basic",
            "stopped": draw.random() < 0.02,
        }
        for no in [*range(0, 900), *range(BLOCK - 300, BLOCK + 300), *range(2 * BLOCK - 9, MEMBERS)]
    }


@pytest.fixture
def campaign(store, people) -> int:
    tenant = new_crowd(store)
    settle(store, tenant, people, {}, MEMBERS)
    return started(store, f"Hi {{name}}, {{points|0}} points. {LONG[:130]}")


def started(store, text: str) -> int:
    reply = do(store, create_campaign, CreateCampaign(title="Spring", text=text, sender="SHOP", expr='tier = "gold"'))
    campaign = parse_public_id("cmp", reply["id"])
    assert campaign is not None
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token))
    return campaign


def expansion(store, campaign: int) -> Expansion:
    with store.snapshot() as view:
        return Expansion(view, 1, campaign, load(view, 1, campaign))


def take(store, made: Expansion, room: int) -> list[Row] | None:
    with store.snapshot() as view:
        batch = made.next(view, 0, room, 0)
        return None if batch is None else read_rows(batch)


def take_all(store, made: Expansion, room: int = 500) -> list[Row]:
    rows: list[Row] = []
    while (some := take(store, made, room)) is not None:
        rows += some
    return rows


def gold(people) -> list[int]:
    return [no for no in sorted(people) if people[no]["tier"] == "gold"]


def claimed(store, campaign: int, rows: list[Row]) -> None:
    """These rows' claims, folded."""
    items = {}
    for row in rows:
        items[row.rank] = Claim(
            campaign, row.rank, (row.parts if row.decision < 16 else 128 + row.decision,), text_hash=row.text_hash
        )
    append(store, value_of(list(items.values())))
    fold_all(store)


@pytest.mark.parametrize("room", [1, 7, 100_000])
def test_everybody_is_taken_once_in_the_order_of_their_numbers(store, campaign, people, room):
    made = expansion(store, campaign)
    rows = take_all(store, made, room if room > 1 else 40)
    firsts = [row for row in rows if row.part == 0]
    assert [row.slot for row in firsts] == gold(people)
    assert [row.rank for row in firsts] == list(range(len(firsts)))
    assert made.expanded and not made.wants(0) and made.audience == len(firsts)
    for row in firsts:
        one = people[row.slot]
        expected = (
            Decision.NO_VALID_NUMBER if not one["phone"] else Decision.OPTED_OUT if one["stopped"] else Decision.SENT
        )
        assert row.decision == expected and (row.destination == one["phone"] or expected != Decision.SENT)
    assert {row.parts for row in rows if row.decision == Decision.SENT} == {1, 2}


def test_a_message_is_taken_whole_even_where_it_passes_the_room(store, campaign):
    made = expansion(store, campaign)
    seen = 0
    while (rows := take(store, made, 1)) is not None and seen < 300:
        assert len({row.rank for row in rows}) == 1 and len(rows) == max(1, rows[0].parts)
        seen += 1


@pytest.mark.parametrize("seed", range(6))
def test_after_a_restart_exactly_the_undecided_are_left(store, campaign, people, seed):
    draw = random.Random(seed)
    made = expansion(store, campaign)
    done: list[Row] = []
    for _ in range(draw.randint(0, 9)):
        done += take(store, made, draw.randint(1, 200)) or []
    some = [row for row in done if row.rank % 7]  # the claims of some never reached the disk
    if some:
        claimed(store, campaign, some)
        released = [row.rank for row in some if row.parts == 1 and row.rank % 5 == 0 and row.decision == Decision.SENT]
        append(
            store,
            value_of([Record(campaign, Kind.RELEASED, rank) for rank in released] or [Record(campaign, Kind.HELD, 0)]),
        )
        fold_all(store)
        decided = {row.rank for row in some} - set(released)
    else:
        decided = set()
    again = expansion(store, campaign)
    ranks = [row.rank for row in take_all(store, again) if row.part == 0]
    assert ranks == [rank for rank in range(len(gold(people))) if rank not in decided]


def test_members_of_ranks_finds_them_again(store, campaign, people):
    numbers = gold(people)
    ranks = sorted(random.Random(1).sample(range(len(numbers)), 100))
    with store.snapshot() as view:
        assert members_of_ranks(view, campaign, ranks) == {rank: numbers[rank] for rank in ranks}
        assert members_of_ranks(view, campaign, []) == {}


# ---- repeats


def repeated(store, made: Expansion, *items: Repeat, room: int = 100, now_ns: int = 10) -> list[list[Row]]:
    for item in items:
        made.repeat(item)
    with store.snapshot() as view:
        return [read_rows(batch) for batch in made.again(view, 0, room, now_ns)]


def two_parts(store, campaign: int) -> list[Row]:
    """The first message of two parts, claimed."""
    rows = [row for row in take_all(store, expansion(store, campaign)) if row.parts == 2]
    mine = [row for row in rows if row.rank == rows[0].rank]
    claimed(store, campaign, mine)
    return mine


def test_repeats_come_when_they_are_due_by_block_and_with_their_tries(store, campaign, people):
    made = expansion(store, campaign)
    rows = [row for row in take_all(store, made) if row.parts == 1]
    early, late, other = rows[0], rows[1], next(row for row in rows if row.slot >= BLOCK)
    assert made.expanded and not made.due(10)
    items = [
        Repeat(20, late.rank, late.slot, 1, 1),
        Repeat(5, early.rank, early.slot, 1, 2),
        Repeat(6, other.rank, other.slot, 1, 0),
    ]
    batches = repeated(store, made, *items)
    assert [[(row.rank, row.slot, row.tries, row.skip) for row in batch] for batch in batches] == [
        [(early.rank, early.slot, 2, 0)], [(other.rank, other.slot, 0, 0)],
    ]  # fmt: skip
    assert made.repeats == 1 and not made.due(19) and made.due(20) and made.wants(20) and made.next_due_ns == 20
    assert [[row.rank for row in batch] for batch in repeated(store, made, now_ns=20)] == [[late.rank]]
    assert made.repeats == 0


def test_no_more_repeats_are_taken_than_there_is_room_for(store, campaign):
    made = expansion(store, campaign)
    rows = [row for row in take_all(store, made) if row.parts == 1][:50]
    items = [Repeat(no, row.rank, row.slot, 1, 0) for no, row in enumerate(rows)]
    assert len(repeated(store, made, *items, room=20, now_ns=1_000)[0]) == 20
    assert made.repeats == 30
    assert [item.rank for item in sorted(made.give_up())] == [row.rank for row in rows[20:]] and made.repeats == 0


def test_parts_given_back_apart_go_again_together_and_the_others_are_skipped(store, campaign):
    first, second = two_parts(store, campaign)
    made = expansion(store, campaign)
    (batch,) = repeated(store, made, Repeat(1, first.rank, first.slot, 0b10, 1))
    assert [(row.part, row.skip) for row in batch] == [(0, 1), (1, 0)]
    (batch,) = repeated(
        store, made, Repeat(1, first.rank, first.slot, 0b10, 1), Repeat(2, first.rank, first.slot, 0b01, 1)
    )
    assert [(row.part, row.skip) for row in batch] == [(0, 0), (1, 0)]
    assert (batch[1].text_hash, batch[1].esm_class) == (second.text_hash, second.esm_class)


def renamed(store, row: Row, name: str) -> None:
    do(store, upsert_member, UpsertMember(member_no=row.slot, values={"name": name}))


def test_a_message_of_which_nothing_is_out_goes_as_it_reads_now(store, campaign):
    made = expansion(store, campaign)
    row = next(row for row in take_all(store, made) if row.parts == 1)
    claimed(store, campaign, [row])
    renamed(store, row, "x" * 40)  # two parts from now on
    (batch,) = repeated(store, made, Repeat(1, row.rank, row.slot, 1, 1))
    assert [(r.part, r.parts, r.skip, r.decision) for r in batch] == [(0, 2, 0, 1), (1, 2, 0, 1)]


@pytest.mark.parametrize("name", ["Bob", "y" * 40])
def test_a_message_that_is_partly_out_and_reads_otherwise_now_is_given_up(store, campaign, name):
    first, _ = two_parts(store, campaign)
    made = expansion(store, campaign)
    renamed(store, first, name)
    (batch,) = repeated(store, made, Repeat(1, first.rank, first.slot, 0b10, 1))
    assert {row.decision for row in batch} == {Decision.TEXT_GREW}


def test_texts_are_rendered_with_the_fields_as_they_are_at_that_moment(store, campaign):
    later = [row for row in take_all(store, expansion(store, campaign)) if row.parts == 1][50]
    made = expansion(store, campaign)
    assert take(store, made, 10) is not None
    renamed(store, later, "Zed")
    with store.snapshot() as view:
        batch = made.next(view, 0, 200, 0)
        assert batch is not None
        row = next(row for row in read_rows(batch) if row.rank == later.rank)
        assert octets_of(batch, row).startswith(b"Hi Zed, 7 points.")
