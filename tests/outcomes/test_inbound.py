"""What a message from a phone is, what is kept of it, and that the SMSC's repeats count once."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.apps.messages import send_messages
from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import (
    CreateCampaign,
    CreateTenant,
    EditTenant,
    PreviewCampaign,
    SendMessages,
    StartCampaign,
)
from dispatcher.members.consent import opted_out
from dispatcher.outcomes.inbound import RECENT_MAX, REPEAT_MS, Recent, hear, is_stop, plain, seal_of
from dispatcher.records.changes import Changes
from dispatcher.records.events import Delivered
from dispatcher.records.keys import parse_public_id
from dispatcher.store.layout import OPTOUT_GROUPS, TENANT
from dispatcher.tenants.edit import edit_tenant
from dispatcher.tenants.senders import note_own_senders
from dispatcher.tenants.tenant import create_tenant
from tests.fakes.shop import NOW_MS, do, new_member
from tests.outcomes.inbox import inbox

NUMBER = 4915100000001


def said(
    text: str | bytes, *, number: str = str(NUMBER), to: str = "SHOP", data_coding: int = 0, esm_class: int = 0
) -> Delivered:
    octets = text if isinstance(text, bytes) else text.encode("utf-16-be" if data_coding == 8 else "ascii")
    return Delivered(
        source_addr=number, destination_addr=to, octets=octets, data_coding=data_coding, esm_class=esm_class
    )


def heard(store, message: Delivered, at_ms: int = NOW_MS, recent: Recent | None = None):
    with store.begin_write() as view:
        changes, what = hear(view, message, at_ms, Recent() if recent is None else recent)
        view.apply(changes)
    return what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("STOP", "stop"), (" stop.\r\n", "stop"), ("Stop, thanks", "stop"), ("UNSUBSCRIBE me please", "stop"), ("\uff33top", "stop"),
        ("退订", "stop"), ("opt-out", "stop"), ("END", "stop"), ("end of story", "inbox"), ("stop 12345", "inbox"),
        ("non stop", "inbox"), ("stopping", "inbox"), ("START", "start"), ("start me up", "inbox"), ("Points?", "points"),
        ("BALANCE", "points"), ("points please", "inbox"), ("", "inbox"), ("???", "inbox"), ("hello", "inbox"),
    ],
)  # fmt: skip
def test_words_decide_in_their_order(shop, text, what):
    message = said(text, data_coding=8)
    assert heard(shop, message).what == what
    (row,) = inbox(shop)
    assert (row["what"], row["text"], row["octets"], row["from"], row["to"]) == (
        what,
        text,
        message.octets,
        str(NUMBER),
        "SHOP",
    )
    assert row["at_ms"] == NOW_MS and row["data_coding"] == 8


def test_a_stop_opts_out_of_every_group_and_is_first_once(shop):
    first = heard(shop, said("STOP"))
    again = heard(shop, said("stop"), NOW_MS + 1_000)
    assert (first.first, again.first) == (True, False) and first.answer_from == "SHOP" and first.number == NUMBER
    with shop.snapshot() as view:
        assert all(opted_out(view, 1, NUMBER, group) for group in OPTOUT_GROUPS)
    assert heard(shop, said("start"), NOW_MS + 2_000).what == "start"
    with shop.snapshot() as view:
        assert not any(opted_out(view, 1, NUMBER, group) for group in OPTOUT_GROUPS)
    assert heard(shop, said("STOP"), NOW_MS + REPEAT_MS * 2).first


@pytest.mark.parametrize("number", ["+4915100000001", "004915100000001", "4915100000001"])
def test_a_number_is_a_number_however_it_is_written(shop, number):
    assert heard(shop, said("STOP", number=number)).number == NUMBER


@pytest.mark.parametrize("number", ["INFO24", "24-7", "", "+", "1234567890123456", "٤٩"])
def test_a_sender_that_is_no_phone_stops_nothing_and_is_kept(shop, number):
    what = heard(shop, said("STOP", number=number))
    assert (what.what, what.number) == ("inbox", 0)
    assert [row["from"] for row in inbox(shop)] == [number]
    with shop.snapshot() as view:
        assert view.count("optouts") == 0


def test_a_likely_opt_out_that_was_not_taken_as_one_is_marked(shop):
    for text in ("stop 12345", "end of story", "hello"):
        heard(shop, said(text))
    assert [row["probable_opt_out"] for row in inbox(shop)] == [True, True, False]


def test_octets_that_no_alphabet_reads_are_kept_as_they_are(shop):
    assert heard(shop, said(b"\xff\x00\x01", data_coding=4)).what == "inbox"
    assert heard(shop, said(b"\x05\x00\x03", data_coding=8, esm_class=0x40)).what == "inbox"
    assert [row["octets"] for row in inbox(shop)] == [b"\xff\x00\x01", b"\x05\x00\x03"]


def other(shop, sender: str = "OTHER") -> None:
    """A second tenant."""
    do(shop, create_tenant, CreateTenant(title="Other", zone="Europe/Berlin", region="DE", sender=sender), tenant=0)


def stopped(shop) -> list[bool]:
    """Whether each tenant's marketing has ended for the number."""
    with shop.snapshot() as view:
        return [opted_out(view, tenant, NUMBER, "marketing") for tenant in (1, 2)]


def test_it_belongs_to_whose_number_was_written_to(shop):
    assert heard(shop, said("hi", to="ELSE")).tenant == 1  # the only tenant there is
    other(shop, "+4915799999999")
    assert heard(shop, said("hi", to="4915799999999")).tenant == 2
    assert heard(shop, said("STOP", to="ELSE")).what == "inbox"  # nobody's: the operator's inbox
    assert [len(inbox(shop, tenant)) for tenant in (0, 1, 2)] == [1, 1, 1]
    assert inbox(shop, 0)[0]["probable_opt_out"]


def test_a_stop_to_a_number_that_only_a_campaign_or_a_message_was_sent_under_is_its_tenants(shop):
    other(shop)
    new_member(shop, 4915100000002, tenant=2)
    draft = CreateCampaign(title="Sale", text="Hi", sender="+4915788888888")
    campaign = parse_public_id("cmp", do(shop, create_campaign, draft, tenant=2)["id"])
    token = do(shop, preview_campaign, PreviewCampaign(campaign=campaign), tenant=2)["token"]
    do(shop, start_campaign, StartCampaign(campaign=campaign, token=token), tenant=2)
    asked = [{"to": f"+{NUMBER}", "text": "Hi", "purpose": "care", "sender": "CODE"}]
    do(shop, send_messages, SendMessages(messages=asked), tenant=2)
    assert heard(shop, said("hello", to="CODE")).tenant == 2
    told = heard(shop, said("STOP", to="4915788888888"))
    assert (told.what, told.tenant, told.first, told.others, stopped(shop)) == ("stop", 2, True, (), [False, True])


def test_a_stop_to_a_shared_number_holds_for_every_tenant_that_knows_the_phone(shop):
    other(shop, "SHOP")
    stranger = heard(shop, said("STOP", number="4915100000009"))
    assert (stranger.tenant, stranger.others) == (1, (2,)), "whom nobody knows may mean either"
    new_member(shop, NUMBER, tenant=2)
    assert (heard(shop, said("hello")).tenant, heard(shop, said("STOP")).others) == (2, ())
    assert stopped(shop) == [False, True]
    new_member(shop, NUMBER)
    told = heard(shop, said("Stop, thanks"))
    assert (told.tenant, told.others, told.first, stopped(shop)) == (1, (2,), True, [True, True])
    assert heard(shop, said("START"), NOW_MS + 1_000).what == "start" and stopped(shop) == [False, False]


def test_a_stop_to_a_number_that_nobody_is_known_to_use_holds_for_all_that_know_the_phone(shop):
    other(shop)
    new_member(shop, NUMBER, tenant=2)
    assert heard(shop, said("hello", to="777")).tenant == 2, "the only one that knows the phone"
    new_member(shop, NUMBER)
    assert heard(shop, said("hello", to="777")).tenant == 0
    told = heard(shop, said("STOP", to="777"))
    assert ((told.tenant, *told.others), told.first, stopped(shop)) == ((1, 2), True, [True, True])


def test_whose_it_is_is_found_without_reading_other_tenants(shop):
    other(shop, "THEIRS")
    with shop.begin_write() as view:
        view.txn.put(TENANT.pack(900), b"\xc1", db=view.tables["tenants"])  # no row that can be read
    assert heard(shop, said("hi", to="THEIRS")).tenant == 2


def test_a_tenants_own_sender_is_its_own_from_its_beginning_and_after_a_change(shop):
    other(shop, "+4915799999999")
    do(shop, edit_tenant, EditTenant(changes={"sender": "NEW"}), tenant=2)
    assert [heard(shop, said("hi", to=to)).tenant for to in ("4915799999999", "NEW", "SHOP")] == [2, 2, 1]


def test_the_own_senders_of_an_earlier_versions_tenants_are_noted_at_a_start(shop):
    other(shop, "THEIRS")
    changes = Changes()
    for sender in (b"SHOP", b"THEIRS"):
        changes.delete("meta", b"sender" + sender)
    shop.apply(changes)
    assert heard(shop, said("hi", to="THEIRS")).tenant == 0
    for _ in range(2):
        note_own_senders(shop)
        assert heard(shop, said("hi again", to="THEIRS")).tenant == 2


@pytest.mark.parametrize("esm_class", [0x08, 0x10, 0x18])
def test_an_acknowledgement_by_a_phone_is_kept_and_asks_for_nothing_but_an_end(shop, esm_class):
    assert heard(shop, said("points", esm_class=esm_class)).what == "acknowledgement"
    assert heard(shop, said("start", esm_class=esm_class)).what == "acknowledgement"
    assert heard(shop, said("STOP", esm_class=esm_class)).what == "stop"
    assert len(inbox(shop)) == 3


@pytest.mark.parametrize(("esm_class", "replies"), [(0, 1), (0x08, 0), (0x10, 1), (0x18, 0), (0x08 | 0x80, 0)])
def test_what_a_phone_says_by_itself_is_no_reply_of_its_owner(shop, esm_class, replies):
    new_member(shop, NUMBER)
    heard(shop, said("1", esm_class=esm_class))
    assert heard(shop, said("STOP", esm_class=esm_class)).what == "stop"
    with shop.snapshot() as view:
        assert view.count("replies") == replies + 1, "an end is one, whoever sent it"


@pytest.mark.parametrize(
    ("octets", "data_coding", "text"),
    [
        (b"\x00\x1be", 0, "@€"), (b"caf\xe9", 3, "café"), ("日😀".encode("utf-16-be"), 8, "日😀"), (b"hi", 1, "hi"),
        (b"hi", 0xF1, "hi"), ("ё".encode("iso8859-5"), 6, "ё"), (b"\x01\x02", 4, None), (b"\x01\x02", 0xF5, None),
        ("日".encode("utf-16-be"), 0x18, "日"), (b"odd", 8, None), (b"hi", 0xD0, "hi"), ("が".encode("shift_jis"), 5, "が"),
    ],
)  # fmt: skip
def test_a_message_is_read_in_its_data_coding_and_kept_as_octets(shop, octets, data_coding, text):
    heard(shop, said(octets, data_coding=data_coding))
    assert [(row["text"], row["octets"]) for row in inbox(shop)] == [(text, octets)]


def test_what_data_coding_0_means_is_the_endpoints(shop):
    with shop.begin_write() as view:
        view.apply(hear(view, said(b"\xa3@", data_coding=0), NOW_MS, Recent(), default_alphabet="latin1")[0])
    assert inbox(shop)[0]["text"] == "£@"


# ---- repeats


def test_the_same_octets_between_the_same_numbers_count_once_for_a_while(shop):
    recent = Recent()
    for at_ms, what in ((0, "stop"), (1, "repeat"), (REPEAT_MS - 1, "repeat"), (REPEAT_MS + 1, "stop")):
        assert heard(shop, said("STOP"), NOW_MS + at_ms, recent).what == what
    for other in (said("STOP "), said("STOP", number="4915100000002"), said("STOP", to="X")):
        assert heard(shop, other, NOW_MS + REPEAT_MS + 2, recent).what == "stop"
    assert len(inbox(shop)) == 5


def test_a_restart_still_knows_what_it_heard_just_before(shop):
    before = Recent()
    heard(shop, said("one"), NOW_MS - REPEAT_MS - 1, before)
    heard(shop, said("two"), NOW_MS, before)
    after = Recent()
    assert heard(shop, said("two"), NOW_MS + 1_000, after).what == "repeat"
    assert heard(shop, said("one"), NOW_MS + 1_001, after).what == "inbox"
    assert len(after) == 2


def test_what_did_not_reach_the_disk_is_no_repeat_when_it_comes_again(shop):
    recent, message = Recent(), said("STOP")
    with shop.snapshot() as view:
        assert hear(view, message, NOW_MS, recent)[1].what == "stop"  # and its commit failed
    recent.forget(seal_of(message))
    recent.forget(b"never heard")
    assert heard(shop, message, NOW_MS + 10, recent).what == "stop"


def test_a_flood_is_remembered_up_to_a_bound(shop):
    recent = Recent()
    with shop.snapshot() as view:
        for no in range(RECENT_MAX + 10):
            recent.heard(view, b"%d" % no, NOW_MS)
        assert len(recent) == RECENT_MAX
        assert recent.heard(view, b"%d" % (RECENT_MAX + 9), NOW_MS)
        assert not recent.heard(view, b"0", NOW_MS)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    octets=st.binary(max_size=160),
    data_coding=st.integers(0, 255),
    esm_class=st.integers(0, 255),
    number=st.text(max_size=20),
)
def test_any_octets_are_kept_and_nothing_is_raised(shop, octets, data_coding, esm_class, number):
    message = Delivered(
        source_addr=number, destination_addr="SHOP", octets=octets, data_coding=data_coding, esm_class=esm_class
    )
    assert heard(shop, message).what in (
        "stop",
        "start",
        "help",
        "points",
        "inbox",
        "acknowledgement",
        "part",
        "repeat",
    )


@given(st.text(max_size=30))
def test_plain_is_its_own_plain_and_a_stop_word_first_among_letters_stops(text):
    word = plain(text)
    assert plain(word) == word
    assert is_stop(word) or not is_stop(f"{word}")
    assert is_stop(plain(f"Stop, {text}")) == (not any(c.isdigit() for c in plain(text)))
