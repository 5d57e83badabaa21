"""Single messages share the gate of campaigns: caps count both ways, quiet hours wait, credit and plan are taken and given
back; a one-time code passes caps and hours and is metered all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dispatcher.apps.messages import cancel_message, send_messages
from dispatcher.apps.messages_gate import Gate
from dispatcher.apps.messages_meter import settle_messages, unsettled
from dispatcher.apps.messages_shown import get_message
from dispatcher.campaigns import usage
from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.money import account, entries, top_up
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.price import set_prices
from dispatcher.control.commands import (
    CancelMessage,
    CreateCampaign,
    EditTenant,
    PreviewCampaign,
    RecordConsents,
    SendMessages,
    SetPrices,
    TopUp,
)
from dispatcher.members.consent import record_optout
from dispatcher.members.consents import record_consents
from dispatcher.outbox.entry import entries_of, read_entry
from dispatcher.records.batches import message_batch
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.caps import capped_by
from dispatcher.store.singles import KEPT_MS, drop_old_singles
from dispatcher.tenants.edit import edit_tenant
from dispatcher.tenants.profile import Cap
from tests.campaigns.log import claim, log
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused
from tests.segments.sends import started

NUMBER, STRANGER = 4915100000001, 4917600000001
HOUR_MS, DAY_MS = 3_600_000, 86_400_000  # NOW_MS is Monday 2026-09-21 16:13:20 in Berlin
NIGHT_MS = NOW_MS + 7 * HOUR_MS
ONE_A_DAY = [{"group": "marketing", "max": 1, "within_s": 86_400}]


@pytest.fixture
def shop(store):
    new_shop(store)
    new_member(store, NUMBER)
    return store


def tenant(store, **changes: Any) -> None:
    do(store, edit_tenant, EditTenant(changes=changes))


def sent(store, *messages: dict[str, Any], at_ms: int = NOW_MS) -> list[dict[str, Any]]:
    asked = [{"to": f"+{NUMBER}", "text": "hi", "purpose": "marketing"} | message for message in messages]
    return do(store, send_messages, SendMessages(messages=asked), at_ms=at_ms)["results"]


def decisions(store, *messages: dict[str, Any], at_ms: int = NOW_MS) -> list[str]:
    return [one.get("decision") or one["error"]["code"] for one in sent(store, *messages, at_ms=at_ms)]


def previewed(store, at_ms: int = NOW_MS) -> dict[str, Any]:
    made = do(store, create_campaign, CreateCampaign(title="Sale", text="Hi", sender="SHOP"), at_ms=at_ms)
    return do(store, preview_campaign, PreviewCampaign(campaign=parse_public_id("cmp", made["id"])), at_ms=at_ms)


def again(store, message: dict[str, Any], at_ms: int, *, partly: bool = False):
    number = parse_public_id("msg", message["id"])
    with store.snapshot() as view:
        entry = read_entry(view, message_batch(1, list(Purpose)[number & 7]), number >> 3)
        return Gate().again(view, entry, at_ms, partly=partly)


def use(store) -> usage.Used:
    with store.snapshot() as view:
        return usage.month_used(view, 1, usage.month_of(NOW_MS, "Europe/Berlin"))


# ---- caps


def test_a_message_of_the_api_counts_towards_the_cap_of_a_campaign_and_of_the_next(shop):
    tenant(shop, caps=ONE_A_DAY)
    assert previewed(shop)["skipped"] == {}
    first, second, care = sent(shop, {}, {}, {"purpose": "care"})
    assert (first["decision"], second["decision"], care["decision"]) == ("sent", "frequency_cap", "sent")
    assert decisions(shop, {}) == ["frequency_cap"]
    assert previewed(shop)["skipped"] == {"frequency_cap": 1}
    assert previewed(shop, NOW_MS + DAY_MS + 1_000)["skipped"] == {}, "a day later its window is over"


def test_a_message_that_waits_for_a_later_day_holds_back_only_what_one_window_may_hold_with_it(shop):
    tenant(shop, caps=ONE_A_DAY)
    in_two_days, in_an_hour = "2026-09-23T16:13:20+02:00", "2026-09-21T17:13:20+02:00"
    assert decisions(shop, {"send_at": in_two_days}) == ["waiting"]
    assert previewed(shop)["skipped"] == {}
    assert decisions(shop, {"send_at": in_an_hour}, {}, {"send_at": in_two_days}) == [
        "waiting", "frequency_cap", "frequency_cap",
    ]  # fmt: skip
    assert previewed(shop)["skipped"] == {"frequency_cap": 1}
    assert previewed(shop, NOW_MS + 3 * 3_600_000)["skipped"] == {"frequency_cap": 1}


def test_who_is_capped_is_told_by_which_message(shop):
    tenant(shop, caps=ONE_A_DAY)
    (message,) = sent(shop, {})
    with shop.snapshot() as view:
        (cap,) = (Cap(**one) for one in ONE_A_DAY)
        said = capped_by(view, 1, [cap], 0, NOW_MS + 1)
        assert said["by"] == [{"message": message["id"], "title": "", "at": "2026-09-21T14:13:20.000Z"}]
        assert said["until"] == "2026-09-22T14:13:20.000Z"
        assert capped_by(view, 1, [cap], 0, NOW_MS - 1) is None, "it was not sent yet"


def test_a_cap_holds_for_a_number_that_is_no_members_too(shop):
    tenant(shop, caps=ONE_A_DAY)
    stranger = {"to": f"+{STRANGER}"}
    assert decisions(shop, stranger, stranger, {}) == ["sent", "frequency_cap", "sent"]
    assert decisions(shop, stranger, at_ms=NOW_MS + DAY_MS + 1) == ["sent"]


def test_what_is_cancelled_or_skipped_does_not_count(shop):
    tenant(shop, caps=ONE_A_DAY)
    (first,) = sent(shop, {})
    do(shop, cancel_message, CancelMessage(message=first["id"]))
    assert decisions(shop, {}, {}) == ["sent", "frequency_cap"]


def test_a_one_time_code_is_never_capped(shop):
    tenant(shop, caps=[{"group": group, "max": 0, "within_s": 60} for group in ("marketing", "care", "service")])
    assert decisions(shop, {"purpose": "otp"}, {"purpose": "transactional"}, {}) == ["sent", "sent", "frequency_cap"]


def test_at_its_claim_a_message_is_asked_again_and_does_not_count_against_itself(shop):
    (message,) = sent(shop, {})
    campaign = started(shop, "Sale")
    tenant(shop, caps=ONE_A_DAY)
    assert again(shop, message, NOW_MS + 1).decision is Decision.SENT
    log(shop, campaign, NOW_MS, claim(0, [1]))
    assert again(shop, message, NOW_MS + 1_001).decision is Decision.FREQUENCY_CAP
    assert again(shop, message, NOW_MS + 1_001, partly=True).decision is Decision.SENT, "half of it is out already"
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, NUMBER, "marketing", NOW_MS + 1_100, "STOP"))
    assert again(shop, message, NOW_MS + 1_200, partly=True).decision is Decision.OPTED_OUT


def test_old_ones_are_forgotten_once_no_cap_looks_back_to_them(shop):
    sent(shop, {}, {"purpose": "service"})
    with shop.begin_write() as view:
        for at_ms, left in ((NOW_MS + KEPT_MS, 2), (NOW_MS + KEPT_MS + 2, 0)):
            changes, after = drop_old_singles(view, at_ms, None)
            view.apply(changes)
            assert (view.count("singles"), after) == (left, None)


# ---- quiet hours


@pytest.fixture
def market(shop):
    """France's rules: marketing from 8 to 22, never on Sundays and holidays."""
    tenant(shop, market_profile="fr")
    yes = [{"number": f"+{number}", "purpose": "marketing", "source": "till"} for number in (NUMBER, STRANGER)]
    do(shop, record_consents, RecordConsents(consents=yes))
    return shop


def test_marketing_at_night_waits_for_the_morning_where_the_number_is(market):
    night, code, care = sent(market, {}, {"purpose": "otp"}, {"purpose": "care"}, at_ms=NIGHT_MS)
    assert (night["decision"], night["due_at"]) == ("waiting", "2026-09-22T06:00:00.000Z")
    assert (code["decision"], care["decision"], code["due_at"]) == ("sent", "sent", None)
    with market.snapshot() as view:
        shown = get_message(view, 1, night["id"], NIGHT_MS)
        assert (shown["state"], shown["decision"], shown["due_at"]) == ("waiting", "waiting", night["due_at"])
        assert get_message(view, 1, night["id"], NIGHT_MS + 9 * HOUR_MS)["state"] == "unsent"
    assert again(market, night, NIGHT_MS + 9 * HOUR_MS).due_ms == NIGHT_MS + 9 * HOUR_MS, "open by then"
    evening = again(market, night, NIGHT_MS + DAY_MS)
    assert evening.decision is Decision.SENT and evening.due_ms == NIGHT_MS + DAY_MS + 8 * HOUR_MS + 2_800_000


def test_one_that_is_not_valid_any_more_when_it_opens_is_skipped_and_says_when_that_is(market):
    (short,) = sent(market, {"validity_s": 3_600}, at_ms=NIGHT_MS)
    assert (short["decision"], short["due_at"]) == ("quiet", "2026-09-22T06:00:00.000Z")
    saturday_night = NIGHT_MS + 5 * DAY_MS
    (over_sunday,) = sent(market, {}, at_ms=saturday_night)
    assert (over_sunday["decision"], over_sunday["due_at"]) == ("waiting", "2026-09-28T06:00:00.000Z")


def test_send_at_waits_and_is_then_asked_for_the_hours(market):
    at_noon, at_night = sent(market, {"send_at": "2026-09-22T12:00:00+02:00"}, {"send_at": "2026-09-22T23:30:00+02:00"})
    assert (at_noon["decision"], at_noon["due_at"]) == ("waiting", "2026-09-22T10:00:00.000Z")
    assert at_night["due_at"] == "2026-09-23T06:00:00.000Z"
    for wrong in ("tomorrow", "2026-09-22T12:00:00", "2027-09-22T12:00:00Z"):
        asked = [{"to": f"+{NUMBER}", "text": "hi", "send_at": wrong}]
        assert (
            refused(market, send_messages, SendMessages(messages=asked)).errors[0]["pointer"] == "/messages/0/send_at"
        )


# ---- plan and credit


@pytest.fixture
def prepaid(shop):
    do(shop, set_prices, SetPrices(prices={"49": 20, "491": 30}), tenant=0)
    tenant(shop, prepaid=True)
    do(shop, top_up, TopUp(micros=100))
    return shop


def balance(store) -> int:
    with store.snapshot() as view:
        return account(view, 1).balance


def test_messages_take_credit_at_the_price_of_their_number_and_stop_where_it_ends(prepaid):
    assert decisions(prepaid, {}, {"text": "x" * 200}, {}, {"purpose": "otp"}) == [
        "sent", "sent", "insufficient_credit", "insufficient_credit"
    ]  # fmt: skip
    assert balance(prepaid) == 10 and use(prepaid) == usage.Used(2, 3, 3, 90)
    with prepaid.snapshot() as view:
        assert [row["kind"] for _, row in entries(view, 1)] == ["messages", "top_up"]
    problem = refused(prepaid, send_messages, SendMessages(messages=[{"to": f"+{NUMBER}", "text": "hi"}]))
    assert (problem.status, problem.code) == (409, "insufficient_credit")
    french = SendMessages(messages=[{"to": "+33612345678", "text": "hi"}])
    assert refused(prepaid, send_messages, french).errors[0]["code"] == "price_missing"


def test_a_plan_ends_with_its_parts_and_codes_use_it_up_too(shop):
    tenant(shop, parts_month=3)
    assert decisions(shop, {"purpose": "otp"}, {"text": "x" * 200}, {}) == ["sent", "sent", "quota_exceeded"]
    assert use(shop).billed == 3


def test_what_is_skipped_costs_nothing_and_what_is_cancelled_is_given_back(prepaid):
    tenant(prepaid, caps=ONE_A_DAY)
    first, second = sent(prepaid, {}, {})
    assert (second["decision"], balance(prepaid)) == ("frequency_cap", 70)
    do(prepaid, cancel_message, CancelMessage(message=first["id"]))
    assert balance(prepaid) == 100 and use(prepaid) == usage.Used()


def test_what_never_went_is_given_back_and_what_went_is_not(prepaid):
    went, stopped, late = sent(prepaid, {}, {}, {"validity_s": 60})
    batch = message_batch(1, Purpose.MARKETING)
    log(prepaid, batch, NOW_MS, claim(0, [1, Decision.OPTED_OUT]))
    assert went["decision"] == stopped["decision"] == late["decision"] == "sent" and balance(prepaid) == 10

    def settled(at_ms: int) -> int:
        with prepaid.snapshot() as view:
            left = unsettled(view, at_ms)
        while left:
            with prepaid.begin_write() as view:
                changes, left = settle_messages(view, left, at_ms)
                view.apply(changes)
        return balance(prepaid)

    assert settled(NOW_MS + 1_000) == 10, "the first is still on its way"
    log(prepaid, batch, NOW_MS, b"\x02\x00\x00\x02" + bytes(12) + b"id" + bytes(6))
    assert settled(NOW_MS + 1_000) == 40, "the second was stopped"
    assert settled(NOW_MS + 61_000) == settled(NOW_MS + 90_000) == 70, "the third was too late"
    assert use(prepaid) == usage.Used(1, 1, 1, 30)
    with prepaid.snapshot() as view:
        shown = usage.usage_json(view, 1, usage.month_of(NOW_MS, "Europe/Berlin"))
    assert shown["campaigns"] == [] and [one["purpose"] for one in shown["singles"]] == ["marketing"]


def test_a_test_to_a_listed_phone_is_neither_capped_nor_waits(market):
    tenant(market, caps=[{"group": "marketing", "max": 0, "within_s": 60}])
    asked = SendMessages(messages=[{"to": f"+{STRANGER + 5}", "text": "hi", "purpose": "marketing"}])
    with market.begin_write() as view:
        from dispatcher.control.commands import Envelope

        changes, reply = send_messages(view, asked, Envelope(tenant=1, actor="test", at_ms=NIGHT_MS), proof=True)
        (entry,) = entries_of(changes)
    assert reply["results"][0]["decision"] == "sent" and entry.proof
    with market.snapshot() as view:
        assert Gate().again(view, entry, NIGHT_MS).due_ms == 0
        assert Gate().again(view, replace(entry, proof=False), NIGHT_MS).decision is Decision.NO_CONSENT
