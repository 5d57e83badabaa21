"""Single messages at the door: each read by itself, the gate by number, ids that sort, what a list and a look show."""

from __future__ import annotations

import pytest

from dispatcher.apps.messages import AT_ONCE, cancel_message, message_id, parse_message_id, send_messages
from dispatcher.apps.messages_shown import get_message, list_messages
from dispatcher.control.commands import (
    AddSuppression,
    CancelMessage,
    EditTenant,
    Envelope,
    RecordConsents,
    SendMessages,
)
from dispatcher.members.consent import record_optout
from dispatcher.members.consents import record_consents
from dispatcher.members.suppression import add_suppression
from dispatcher.outbox.entry import entries_of
from dispatcher.records.batches import is_batch, is_message_batch, message_batch, purpose_of_batch
from dispatcher.records.states import Purpose
from dispatcher.tenants.edit import edit_tenant
from tests.campaigns.log import claim, log
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused
from tests.segments.sends import started

NUMBER = 4915100000001


def sent(store, *messages, tenant: int = 1):
    asked = [{"to": f"+{NUMBER}", "text": "hi"} | message for message in messages]
    return do(store, send_messages, SendMessages(messages=asked), tenant=tenant)


def opt_out(store, group: str = "marketing", tenant: int = 1) -> None:
    with store.begin_write() as view:
        view.apply(record_optout(view, tenant, NUMBER, group, NOW_MS, "STOP"))


def test_a_bad_one_is_refused_with_its_index_and_the_others_go(store):
    new_shop(store)
    reply = sent(
        store, {}, {"to": "+12"}, {"text": ""}, {"purpose": "spam", "ref": "r3"}, {"text": "x" * 3_000}, {"ref": "last"}
    )
    assert (reply["accepted"], reply["refused"]) == (2, 4)
    assert [result["index"] for result in reply["results"]] == list(range(6))
    assert [result.get("error", {}).get("pointer") for result in reply["results"]] == [
        None,
        "/to",
        "/text",
        "/purpose",
        "/text",
        None,
    ]
    assert reply["results"][3]["ref"] == "r3" and reply["results"][5]["ref"] == "last"


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        ({"sender": "x" * 21}, "/sender"),
        ({"sender": "日"}, "/sender"),
        ({"ref": "x" * 101}, "/ref"),
        ({"validity_s": -1}, "/validity_s"),
        ({"validity_s": 8 * 86_400}, "/validity_s"),
        ({"template": "hi"}, "/text"),
        ({"vars": {"a": "b"}}, "/vars"),
        ({"text": None, "template": "hi {naem}", "vars": {"name": "Anna"}}, "/template"),
        ({"text": None, "template": "hi {name", "vars": {"name": "Anna"}}, "/template"),
        ({"text": None, "template": "hi {name}", "vars": {"name": ""}}, "/vars"),
        ({"text": "nul \0"}, "/text"),
    ],
)
def test_what_is_wrong_with_a_message_is_said_with_its_place(store, message, pointer):
    new_shop(store)
    asked = {"to": f"+{NUMBER}", "text": "hi"} | message
    problem = refused(store, send_messages, SendMessages(messages=[asked]))
    assert problem.status == 422 and problem.errors[0]["pointer"] == "/messages/0" + pointer


@pytest.mark.parametrize("count", [0, AT_ONCE + 1])
def test_one_to_a_thousand_at_once(store, count):
    new_shop(store)
    assert (
        refused(store, send_messages, SendMessages(messages=[{"to": "+1", "text": "x"}] * count)).code
        == "invalid_value"
    )


def test_a_template_takes_its_vars_and_fallbacks(store):
    new_shop(store)
    reply = sent(
        store, {"text": None, "template": "Hi {name|you:3}, {code}", "vars": {"name": "Annabel", "code": "{47}"}}
    )
    with store.snapshot() as view:
        assert get_message(view, 1, reply["results"][0]["id"], NOW_MS)["text"] == "Hi Ann, {47}"


def test_the_gate_is_asked_by_number_and_purpose(store):
    new_shop(store)
    opt_out(store, "marketing")
    purposes = [{"purpose": purpose} for purpose in Purpose]
    decisions = [result["decision"] for result in sent(store, *purposes)["results"]]
    assert decisions == ["sent", "sent", "sent", "sent", "opted_out"]
    do(store, add_suppression, AddSuppression(numbers=[f"+{NUMBER}"]))
    assert {result["decision"] for result in sent(store, *purposes)["results"]} == {"suppressed"}


def test_positions_count_on_across_purposes_and_tenants_have_their_own(store):
    new_shop(store)
    new_shop(store, "Other")
    first = sent(store, *({"purpose": purpose} for purpose in ("otp", "marketing", "otp")))
    again = sent(store, {"purpose": "care"})
    other = sent(store, {}, tenant=2)
    ids = [result["id"] for reply in (first, again) for result in reply["results"]]
    assert ids == sorted(ids) and [parse_message_id(each)[0] for each in ids] == [0, 1, 2, 3]
    assert parse_message_id(other["results"][0]["id"])[0] == 0
    with store.snapshot() as view:
        shown = list_messages(view, 1, 10, NOW_MS)
        assert [row["id"] for _, row in shown] == ids[::-1]
        assert [position for position, _ in list_messages(view, 1, 2, NOW_MS, before=3)] == [2, 1]
        assert get_message(view, 2, ids[0], NOW_MS) is None and get_message(view, 1, "msg_0", NOW_MS) is None


def test_an_id_is_a_position_and_a_purpose():
    for purpose in Purpose:
        assert parse_message_id(message_id(0xFFFFFFFF, purpose)) == (0xFFFFFFFF, purpose)
        batch = message_batch(65_535, purpose)
        assert (
            is_batch(batch)
            and is_message_batch(batch)
            and purpose_of_batch(batch) is purpose
            and batch & 0xFFFF == 65_535
        )
    assert parse_message_id("cmp_0000000000000") is None and parse_message_id("msg_ZZZZZZZZZZZZZ") is None


def test_a_cancelled_one_says_so_and_is_cancelled_once(store):
    new_shop(store)
    (result,) = sent(store, {})["results"]
    assert do(store, cancel_message, CancelMessage(message=result["id"]))["state"] == "cancelled"
    with store.snapshot() as view:
        assert get_message(view, 1, result["id"], NOW_MS)["state"] == "cancelled"
    assert refused(store, cancel_message, CancelMessage(message=result["id"])).code == "state_conflict"
    assert refused(store, cancel_message, CancelMessage(message="msg_0000000000ABC")).status == 404


def test_states_before_anything_was_claimed(store):
    new_shop(store)
    opt_out(store)
    reply = sent(store, {"purpose": "otp"}, {"purpose": "marketing"})
    with store.snapshot() as view:
        otp, marketing = (get_message(view, 1, result["id"], NOW_MS) for result in reply["results"])
        late = get_message(view, 1, otp["id"], NOW_MS + 600_000)
    assert (otp["state"], otp["why"], otp["decision"]) == ("unsent", None, "sent")
    assert (marketing["state"], marketing["why"]) == ("skipped", "opted_out")
    assert late["state"] == "expired" and "validity" in late["why"]


def test_a_message_that_names_no_sender_takes_the_tenants_as_a_campaign_does(store):
    new_shop(store)
    do(store, edit_tenant, EditTenant(changes={"sender": "SHOP"}))
    asked = [{"to": f"+{NUMBER}", "text": "hi"}, {"to": f"+{NUMBER}", "text": "hi", "sender": "OTHER"}]
    with store.begin_write() as view:
        envelope = Envelope(tenant=1, actor="test", at_ms=NOW_MS)
        changes, _ = send_messages(view, SendMessages(messages=asked), envelope)
    assert [entry.sender for entry in entries_of(changes)] == ["SHOP", "OTHER"]


def test_the_entries_of_a_request_are_those_that_are_put(store):
    new_shop(store)
    with store.begin_write() as view:
        envelope = Envelope(tenant=1, actor="test", at_ms=NOW_MS)
        asked = {"to": f"+{NUMBER}", "text": "hi", "purpose": "otp", "validity_s": 60, "sender": "ME"}
        changes, _ = send_messages(view, SendMessages(messages=[asked]), envelope)
        (entry,) = entries_of(changes)
    assert (entry.to, entry.text, entry.sender, entry.validity_s, entry.tenant) == (NUMBER, "hi", "ME", 60, 1)
    assert entry.expiry_ms == NOW_MS + 60_000 and not entry.decision and not entry.cancelled


def test_marketing_by_the_api_asks_for_the_same_yes_and_caps_as_a_campaign(store):
    new_shop(store)
    new_member(store, 4915100000001)
    do(store, edit_tenant, EditTenant(changes={"market_profile": "us"}))

    def decided(purpose: str) -> str:
        message = {"to": "+4915100000001", "text": "Hi", "purpose": purpose}
        return do(store, send_messages, SendMessages(messages=[message]))["results"][0]["decision"]

    assert (decided("marketing"), decided("otp")) == ("no_consent", "sent")
    yes = {"number": "+4915100000001", "purpose": "marketing", "source": "till"}
    do(store, record_consents, RecordConsents(consents=[yes]))
    assert decided("marketing") == "sent"
    do(store, edit_tenant, EditTenant(changes={"market_profile": "none"}))
    campaign = started(store, "Sale")
    log(store, campaign, NOW_MS, claim(0, [1]))
    do(store, edit_tenant, EditTenant(changes={"caps": [{"group": "marketing", "max": 1, "within_s": 86_400}]}))
    assert (decided("marketing"), decided("care")) == ("frequency_cap", "sent")
