"""Who was sent to, who got it, who answered: bitmaps of members from campaigns' own ledger blocks."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.campaigns.recipients import recipients
from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import slots_of
from dispatcher.members.aliases import put_alias, put_merge
from dispatcher.members.consent import lift_optout, record_optout
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_member_id
from dispatcher.records.states import Decision, State
from dispatcher.segments.count import count
from dispatcher.segments.engagement import evaluate
from dispatcher.segments.given import ConsentChanged, Engaged, MessagesIn
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import select
from dispatcher.store.layout import BLOCK
from tests.campaigns.log import ACCEPTED, RECEIPT, REFUSED, claim, log, record
from tests.fakes.shop import NOW_MS
from tests.segments.crowd import new_crowd, settle
from tests.segments.sends import DAY_MS, HOUR_MS, PHONE, says, started

STEP = 2  # every other member is there, so that ranks pass a chunk's end within a block
MEMBERS = STEP * (BLOCK + 1_000)


@pytest.fixture
def store(store):
    tenant = new_crowd(store)
    settle(store, tenant, {no: {"phone": PHONE + no, "live": True} for no in range(0, MEMBERS, STEP)}, {}, MEMBERS)
    with store.begin_write() as view:  # settle() writes columns alone; a reply is found by its number
        for no in range(0, MEMBERS, STEP):
            view.txn.put(b"\0\1" + (PHONE + no).to_bytes(8, "big"), no.to_bytes(4, "little"), db=view.tables["phones"])
    return store


def who(store, key, as_of_ms: int = NOW_MS + DAY_MS) -> list[int]:
    with store.snapshot() as view:
        (found,) = evaluate(view, 1, [key], as_of_ms).values()
    return [block * BLOCK + slot for block, bitmap in sorted(found.items()) for slot in slots_of(bitmap)]


def ranks(*numbers: int) -> list[int]:
    return [STEP * number for number in numbers]


def test_sent_received_and_undelivered_are_told_apart(store):
    campaign = started(store, "Spring")
    log(store, campaign, NOW_MS, claim(0, [1, 2, 1, 1, Decision.OPTED_OUT, Decision.HOLDOUT, 1]))
    receipts = [record(RECEIPT, rank, part=part, state=state) for rank, part, state in (
        (0, 0, State.DELIVERED), (1, 0, State.DELIVERED), (1, 1, State.FAILED), (2, 0, State.EXPIRED), (6, 0, State.UNKNOWN),
    )]  # fmt: skip
    log(store, campaign, NOW_MS + 1_000, *receipts, record(REFUSED, 3, status=0x0B))
    assert who(store, Engaged("sent", campaign)) == ranks(0, 1, 2, 3, 6)
    assert who(store, Engaged("received", campaign)) == ranks(0)
    assert who(store, Engaged("undelivered", campaign)) == ranks(1, 2, 3)
    assert who(store, Engaged("held_out", campaign)) == ranks(5)


def test_ranks_past_a_chunk_and_a_block_find_their_members(store):
    campaign = started(store, "Spring")
    log(store, campaign, NOW_MS, claim(BLOCK // 2 - 1, [1, 1]), claim(BLOCK - 1, [1, 1, 1]), claim(BLOCK + 999, [1]))
    assert who(store, Engaged("sent", campaign)) == ranks(
        BLOCK // 2 - 1, BLOCK // 2, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 999
    )


def test_a_window_takes_the_second_a_thing_happened_in(store):
    campaign = started(store, "Spring")
    log(store, campaign, NOW_MS, claim(0, [1, 1]))
    log(store, campaign, NOW_MS + HOUR_MS, claim(2, [1]), record(RECEIPT, 0, state=State.DELIVERED))
    log(store, campaign, NOW_MS + 2 * HOUR_MS, record(RECEIPT, 1, state=State.DELIVERED))
    sent, received = Engaged("sent", campaign, since_ms=NOW_MS + HOUR_MS), Engaged("received", campaign)
    assert who(store, sent) == ranks(2)
    assert who(store, sent, as_of_ms=NOW_MS + HOUR_MS - 1) == []
    assert who(store, received, as_of_ms=NOW_MS + HOUR_MS) == ranks(0)
    assert who(store, Engaged("received", campaign, since_ms=NOW_MS + HOUR_MS + 1_000)) == ranks(1)


def test_any_campaign_is_all_of_them_and_a_draft_is_none(store):
    early, late = started(store, "Early"), started(store, "Late", at_ms=NOW_MS + HOUR_MS)
    log(store, early, NOW_MS, claim(0, [1]))
    log(store, late, NOW_MS + HOUR_MS, claim(1, [1]))
    assert who(store, Engaged("sent")) == ranks(0, 1)
    assert who(store, Engaged("sent", since_ms=NOW_MS + HOUR_MS)) == ranks(1)
    assert who(store, Engaged("sent"), as_of_ms=NOW_MS) == ranks(0)
    assert who(store, Engaged("sent", early + 1)) == []
    assert who(store, Engaged("held_out")) == []


def test_messages_are_counted_over_campaigns_and_nobody_is_left_out(store):
    for index, taken in enumerate(([1, 1, 1], [1, 1], [1])):
        campaign = started(store, f"C{index}", at_ms=NOW_MS + index * HOUR_MS)
        log(store, campaign, NOW_MS + index * HOUR_MS, claim(0, taken))
    assert who(store, MessagesIn(NOW_MS, 2, 99)) == ranks(0, 1)
    assert who(store, MessagesIn(NOW_MS + HOUR_MS, 1, 1)) == ranks(1)
    assert who(store, MessagesIn(NOW_MS, 1, 1 << 40)) == ranks(0, 1, 2)
    none = who(store, MessagesIn(NOW_MS, 0, 0))
    assert [no for no in range(0, 10, STEP) if no in none] == ranks(3, 4)
    assert none[-1] >= MEMBERS - 1  # the block that no campaign reached
    assert set(who(store, MessagesIn(NOW_MS, -5, 1))) == {*none, *ranks(2)}
    assert who(store, MessagesIn(NOW_MS, 0, -1)) == who(store, MessagesIn(NOW_MS, 1 << 40, 1 << 41)) == []


def test_a_reply_belongs_to_the_last_campaign_before_it(store):
    first, second = started(store, "First"), started(store, "Second")
    log(store, first, NOW_MS, claim(0, [1, 1, 1]))
    log(store, second, NOW_MS + HOUR_MS, claim(1, [1]))
    says(store, 0, "1", NOW_MS + 2 * HOUR_MS)
    says(store, 2, "yes", NOW_MS + HOUR_MS - 1_000)  # rank 1: the second was not sent yet
    says(store, 4, "late", NOW_MS + 73 * HOUR_MS)
    says(store, 6, "never sent to", NOW_MS + HOUR_MS)
    assert who(store, Engaged("replied", first), NOW_MS + 9 * DAY_MS) == [0, 2]
    assert who(store, Engaged("replied", second), NOW_MS + 9 * DAY_MS) == []
    says(store, 2, "and again", NOW_MS + HOUR_MS)
    assert who(store, Engaged("replied", second), NOW_MS + 9 * DAY_MS) == [2]
    assert who(store, Engaged("replied"), NOW_MS + 9 * DAY_MS) == [0, 2]
    assert who(store, Engaged("replied", since_ms=NOW_MS + 2 * HOUR_MS), NOW_MS + 9 * DAY_MS) == [0]
    assert who(store, Engaged("replied"), NOW_MS + HOUR_MS - 1_000) == [2]


@pytest.mark.parametrize(
    ("text", "matches"), [("1", True), (" １. ", True), ("1!", True), ("11", False), ("one", False)]
)
def test_a_reply_is_compared_as_people_write(store, text, matches):
    campaign = started(store, "Survey")
    log(store, campaign, NOW_MS, claim(0, [1]))
    says(store, 0, text, NOW_MS + HOUR_MS)
    assert who(store, Engaged("replied", campaign, text="1")) == ([0] if matches else [])


def test_a_merged_member_has_what_happened_to_those_it_took_over(store):
    campaign, later = started(store, "Spring"), started(store, "Later")
    log(store, campaign, NOW_MS, claim(0, [1]), claim(8_500, [1]), record(RECEIPT, 0, state=State.DELIVERED))
    log(store, later, NOW_MS, claim(0, [1]))
    says(store, 0, "1", NOW_MS + HOUR_MS)
    changes = Changes()
    put_merge(changes, 1, 0, {"into": 2, "at_ms": NOW_MS})
    put_merge(changes, 1, 2, {"into": 17_000, "at_ms": NOW_MS})
    put_alias(changes, 1, PHONE, 2, NOW_MS)
    changes.delete("phones", b"\0\1" + PHONE.to_bytes(8, "big"))
    store.apply(changes)
    assert 17_000 in who(store, Engaged("received", campaign))
    assert 17_000 in who(store, Engaged("replied", later))
    assert 17_000 in who(store, MessagesIn(NOW_MS, 3, 3))
    assert 17_000 not in who(store, MessagesIn(NOW_MS, 0, 2))
    assert 17_000 not in who(store, Engaged("held_out"))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_any_audience_and_outcome_agrees_with_the_list_of_recipients(store, seed):
    draw = random.Random(seed)
    campaign = started(store, f"C{seed}", f'everyone sample {draw.randrange(1, 101)}% by "{seed}"')
    with store.snapshot() as view:
        audience = len(recipients(view, 1, campaign, limit=MEMBERS))
    taken = [draw.choice([1, 2, Decision.HOLDOUT, Decision.OPTED_OUT]) for _ in range(draw.randrange(audience) + 1)]
    log(store, campaign, NOW_MS, claim(0, taken))
    states = [State.DELIVERED, State.FAILED, State.EXPIRED, State.UNKNOWN]
    receipts = [
        record(RECEIPT, rank, part=part, state=draw.choice(states))
        for rank, parts in enumerate(taken)
        if not isinstance(parts, Decision)
        for part in range(parts)
        if draw.random() < 0.8
    ]
    log(store, campaign, NOW_MS + 5_000, *receipts)
    with store.snapshot() as view:
        rows = recipients(view, 1, campaign, limit=MEMBERS)

    def listed(name: str, *words: str) -> list[int | None]:
        return [parse_member_id(row["member"]) for row in rows if row[name] in words]

    assert who(store, Engaged("sent", campaign)) == listed("decision", "sent")
    assert who(store, Engaged("held_out", campaign)) == listed("decision", "holdout")
    assert who(store, Engaged("received", campaign)) == listed("state", "delivered")
    assert who(store, Engaged("undelivered", campaign)) == listed("state", "failed", "expired")


def test_the_last_word_about_a_group_says_who_opted_out_lately(store):
    def say(what, member_no, groups, at_ms):
        with store.begin_write() as view:
            view.apply(what(view, 1, PHONE + member_no, groups, at_ms, "a test"))

    say(record_optout, 0, ["marketing", "care"], NOW_MS)
    say(record_optout, 2, ["marketing"], NOW_MS)
    say(lift_optout, 2, ["marketing"], NOW_MS + HOUR_MS)
    say(record_optout, 4, ["care"], NOW_MS)
    say(record_optout, 1, ["marketing"], NOW_MS)  # nobody's number
    out, into = ConsentChanged("opted_out", "marketing", NOW_MS), ConsentChanged("consented", "marketing", NOW_MS)
    assert (who(store, out), who(store, into)) == ([0], [2])
    assert who(store, out, NOW_MS) == [0, 2]
    assert who(store, ConsentChanged("opted_out", "marketing", NOW_MS + 1)) == []
    assert who(store, ConsentChanged("opted_out", "care")) == [0, 4]


def test_a_rule_names_campaigns_by_title(store):
    campaign = started(store, "Spring")
    log(store, campaign, NOW_MS, claim(0, [1, 1, 1, Decision.HOLDOUT]))
    log(store, campaign, NOW_MS, *(record(RECEIPT, rank, state=State.DELIVERED) for rank in (0, 1)))
    says(store, 2, "1", NOW_MS + HOUR_MS)

    def members(text: str) -> list[int]:
        with store.snapshot() as view:
            compiled = compile_text(view, 1, text, as_of_ms=NOW_MS + DAY_MS)
            found = [
                block * BLOCK + slot for block, bitmap, _ in select(view, 1, compiled) for slot in slots_of(bitmap)
            ]
            assert count(view, 1, text, as_of_ms=NOW_MS + DAY_MS)["matched"] == len(found)
        return found

    assert members('received campaign "Spring" and not replied to campaign "Spring"') == ranks(0)
    assert members('replied to campaign "Spring" with "1"') == ranks(1)
    assert members('sent campaign "Spring" in last 2 days except received any campaign') == ranks(2)
    assert members('held out of campaign "Spring"') == ranks(3)
    assert members("messages in last 7 days >= 1 limit 2") == ranks(0, 1)
    assert len(members("messages in last 7 days < 1")) == MEMBERS // STEP - 3


def test_what_nothing_is_kept_about_is_refused_in_words(store):
    with store.snapshot() as view, pytest.raises(CommandRefused, match="nothing is kept about this") as caught:
        evaluate(view, 1, [Engaged("applauded", 5)], NOW_MS)
    assert (caught.value.status, caught.value.code) == (422, "not_available")


def test_of_an_unfolded_log_nothing_is_seen_as_by_progress(store):
    campaign = started(store, "Spring")
    assert who(store, Engaged("sent", campaign)) == []
    log(store, campaign, NOW_MS, claim(0, [1]), record(ACCEPTED, 0, message_id=b"a"))
    assert who(store, Engaged("sent", campaign)) == [0]
